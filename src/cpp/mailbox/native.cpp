// Handlers that run on the owner thread without leaving C++.
#include <algorithm>

#include "mailbox/state.hpp"

namespace hanse {

namespace {

struct Running {
  bool& flag;
  explicit Running(bool& running) : flag(running) { flag = true; }
  ~Running() { flag = false; }
};

}  // namespace

// However a turn ends, also by an exception, its slot is freed, what is left of the box goes to the
// back, and the next group gets its turn.
struct MailboxTable::State::NativeTurn {
  State& state;
  const uint32_t index;
  uint32_t quantum;
  uint32_t served = 0;  // messages that left the box
  uint32_t slot = index_none;

  ~NativeTurn() {
    if (slot != index_none) state.free_slot(slot);
    Box& box = state.boxes[index];
    if (box.has_messages()) state.make_ready(box, index);
    state.native_ready.served(served);
  }
};

// A handler may move the boxes (by making the population grow), close, pause or take over any of
// them: nothing is remembered across a call. Returns how many were handled.
uint32_t MailboxTable::State::run_turn(MailboxTable& table, NativeTurn& turn, uint32_t count_max,
                                       uint64_t now_ns) {
  uint32_t handled_count = 0;
  Message message;
  while (turn.served < turn.quantum && handled_count < count_max) {
    Box& box = boxes[turn.index];
    if (!box.has_messages() || (box.flags & (Box::paused | Box::native)) != Box::native) break;
    const BoxExtra& more = *extras[box.extra];
    const NativeHandler handler = more.native;
    void* const context = more.native_context;
    const Taken next = unlink_next(box, turn.index);
    ++turn.served;
    const Slot& slot = slab[next.number];
    message.rare = &message_rare_none;
    message.buffer = nullptr;
    message.payload = {slot.payload, slot.size};
    if (slot.flags != 0) [[unlikely]] {
      if (!alive(slot, now_ns)) {
        expire(next.number, turn.index);
        continue;
      }
      message.rare = &rare(slot);
      message.payload = slot.bytes();
      if (slot.flags & Slot::buffered) message.buffer = slot.buffer();
    }
    message.to = make_id(turn.index, slot.to_generation);
    message.sender = slot.sender;
    message.kind = slot.kind;
    message.lane = slot.lane;
    message.request = slot.request;
    message.sequence = next.sequence;
    handled(slot, turn.index, next.sequence, now_ns);
    ++handled_count;
    turn.slot = next.number;
    try {
      handler(context, table, message);
    } catch (...) {
      table.dead(message, Outcome::invalid);
      throw;
    }
    turn.slot = index_none;
    free_slot(next.number);
  }
  return handled_count;
}

size_t MailboxTable::run_native(size_t count_max, uint64_t now_ns, uint32_t quantum) {
  if (quantum == 0) throw Error(ErrorCode::out_of_range, "quantum", "0 where at least 1 is needed");
  State& state = *state_;
  state.require_not_running();
  state.own();
  state.settle();
  const Running running(state.running);
  size_t count = 0;
  while (count < count_max && !state.native_ready.empty()) {
    state.prefetch_turns(state.native_ready);
    const uint32_t index = state.native_ready.pop();
    state.boxes[index].flags &= uint16_t(~Box::ready);
    State::NativeTurn turn{state, index, quantum};
    count += state.run_turn(*this, turn, uint32_t(std::min<size_t>(count_max - count, UINT32_MAX)),
                            now_ns);
  }
  state.credit_starved();
  return count;
}

void MailboxTable::set_native(AgentId agent, NativeHandler handler, void* context) {
  State& state = *state_;
  state.require(agent);
  state.own();
  Box& box = state.box(index_of(agent));
  state.leave_log(index_of(agent));
  if (!handler && box.extra == 0) return;
  BoxExtra& more = state.extra(box);
  more.native = handler;
  more.native_context = context;
  if (handler)
    box.flags |= Box::native;
  else
    box.flags &= uint16_t(~Box::native);
  // It may stand in the other ready ring: whoever meets it there hands it over.
  if (box.has_messages()) state.make_ready(box, index_of(agent));
}

}  // namespace hanse
