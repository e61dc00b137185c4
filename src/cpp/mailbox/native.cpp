// Handlers that run on the owner thread without leaving C++.
#include "mailbox/state.hpp"

namespace hanse {

// However a turn ends, also by an exception: its slot is freed, what is left of the box goes to the
// back, and the next group gets its turn.
struct MailboxTable::State::NativeRun {
  State& state;
  uint32_t index = index_none;
  uint32_t served = 0;  // messages that left the box
  uint32_t slot = index_none;

  explicit NativeRun(State& of) : state(of) { state.running = true; }
  ~NativeRun() {
    if (slot != index_none) state.free_slot(slot);
    if (index != index_none) end_turn();
    state.running = false;
  }
  void end_turn() {
    Box& box = state.boxes[index];
    if (box.has_messages()) state.make_ready(box, index);
    state.native_ready.served(served);
    index = index_none;
  }
};

// A handler may move the boxes (by making the population grow), close, pause or take over any of
// them: nothing is remembered across a call. False: it had expired.
inline bool MailboxTable::State::run_one(MailboxTable& table, NativeRun& run, uint64_t now_ns) {
  Box& box = boxes[run.index];
  const BoxExtra& more = *extras[box.extra];
  const NativeHandler handler = more.native;
  void* const context = more.native_context;
  const Taken next = unlink_next(box, run.index);
  const Slot& slot = slab[next.number];
  Message message;
  if (slot.flags != 0) [[unlikely]] {
    if (!alive(slot, now_ns)) {
      expire(next.number, run.index);
      return false;
    }
    message.rare = &rare(slot);
    message.payload = slot.bytes();
    if (slot.flags & Slot::buffered) message.buffer = slot.buffer();
  } else {
    message.payload = {slot.payload, slot.size};
  }
  message.to = make_id(run.index, slot.to_generation);
  message.sender = slot.sender;
  message.kind = slot.kind;
  message.lane = slot.lane;
  message.request = slot.request;
  message.sequence = next.sequence;
  handled(slot, run.index, next.sequence, now_ns);
  run.slot = next.number;
  try {
    handler(context, table, message);
  } catch (...) {
    table.dead(message, Outcome::invalid);
    throw;
  }
  run.slot = index_none;
  free_slot(next.number);
  return true;
}

size_t MailboxTable::run_native(size_t count_max, uint64_t now_ns, uint32_t quantum) {
  if (quantum == 0) throw Error(ErrorCode::out_of_range, "quantum", "0 where at least 1 is needed");
  State& state = *state_;
  state.require_not_running();
  state.own();
  state.settle();
  State::NativeRun run(state);
  size_t count = 0;
  while (count < count_max && !state.native_ready.empty()) {
    state.prefetch_turns(state.native_ready);
    run.index = state.native_ready.pop();
    run.served = 0;
    state.boxes[run.index].flags &= uint16_t(~Box::native_ready);
    while (run.served < quantum && count < count_max) {
      const Box& box = state.boxes[run.index];
      if (!box.has_messages() || (box.flags & (Box::paused | Box::native)) != Box::native) break;
      ++run.served;
      count += state.run_one(*this, run, now_ns);
    }
    run.end_turn();
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
  box.flags &= uint16_t(~(Box::parked | Box::native));
  if (handler) box.flags |= Box::native;
  if (handler || box.extra != 0) {
    BoxExtra& more = state.extra(box);
    more.native = handler;
    more.native_context = context;
  }
  if (box.has_messages()) state.make_ready(box, index_of(agent));
}

NativeHandler MailboxTable::native(AgentId agent, void*& context_out) const {
  state_->require(agent);
  state_->require_owner();
  context_out = nullptr;
  const uint32_t index = index_of(agent);
  if (index >= state_->boxes.size() || !(state_->boxes[index].flags & Box::native)) return nullptr;
  const BoxExtra& more = *state_->extras[state_->boxes[index].extra];
  context_out = more.native_context;
  return more.native;
}

}  // namespace hanse
