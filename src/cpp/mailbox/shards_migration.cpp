// Groups that move to another shard.
//
// A migration is carried out by one thread while all others rest between two turns: what is in
// rings enters boxes, and each agent of the group takes along what it has. So a message is never
// overtaken by one that was sent after the move.
#include <algorithm>

#include "mailbox/shards_state.hpp"

namespace hanse {

// --- who runs, and rests

void Shards::State::begin_run(uint32_t shard) {
  std::unique_lock lock(run_mutex);
  changed.wait(lock, [this] { return !pausing.load(); });
  enter(shard);
  ++running;
}

void Shards::State::end_run(uint32_t shard) {
  const std::lock_guard lock(run_mutex);
  shards[shard]->table.disown();
  --running;
  changed.notify_all();
}

void Shards::State::rest_in_run(uint32_t shard) {
  std::unique_lock lock(run_mutex);
  if (!pausing.load()) return;
  shards[shard]->table.disown();
  ++resting;
  changed.notify_all();
  changed.wait(lock, [this] { return !pausing.load(); });
  shards[shard]->table.own();
  --resting;
  changed.notify_all();
}

void Shards::require_no_turn() const {
  for (const auto& shard : state_->shards)
    if (shard->table.owned_by_caller() && shard->in_turn)
      throw Error(ErrorCode::illegal_transition, "shards", "inside of a turn");
}

void Shards::join() {
  State& state = *state_;
  require_no_turn();
  std::unique_lock lock(state.run_mutex);
  state.changed.wait(lock, [&state] { return state.running == 0; });
}

Shards::Visit::Visit(Shards& shards, uint32_t shard)
    : table((shards.state_->check_shard(shard), shards.table(shard))),
      borrowed_(!table.owned_by_caller()) {
  if (borrowed_) table.own();
}

Shards::Visit::~Visit() {
  if (borrowed_) table.disown();
}

// --- moving

void Shards::migrate(uint32_t group, uint32_t shard) {
  State& state = *state_;
  state.check_shard(shard);
  // Asked before anything is waited for: a shard that has a turn can't rest.
  require_no_turn();

  const std::lock_guard one_at_a_time(state.migration_mutex);
  struct Pause {
    State& state;
    explicit Pause(State& of) : state(of) {
      std::unique_lock lock(state.run_mutex);
      state.pausing.store(true);
      lock.unlock();
      for (uint32_t i = 0; i < state.options.shard_count; ++i) state.wake(i);
      lock.lock();
      state.changed.wait(lock, [this] { return state.resting == state.running; });
    }
    // Who rested has its table again before anyone else may come.
    ~Pause() {
      std::unique_lock lock(state.run_mutex);
      state.pausing.store(false);
      state.changed.notify_all();
      state.changed.wait(lock, [this] { return state.resting == 0; });
    }
  } pause(state);

  std::vector<std::unique_ptr<Visit>> visits;
  for (uint32_t i = 0; i < state.options.shard_count; ++i)
    visits.push_back(std::make_unique<Visit>(*this, i));
  const std::lock_guard lock(state.doors);
  state.move_group(group, shard);
}

void Shards::State::move_group(uint32_t group, uint32_t shard) {
  for (uint32_t from = 0; from < options.shard_count; ++from) publish(from);
  for (uint32_t into = 0; into < options.shard_count; ++into) absorb(into);
  // All rest, and nothing is in a ring: what the counters say is there is there.
  for (const auto& shard : shards)
    HANSE_ASSERT(shard->table.counters().queued == shard->table.held());
  if (group >= place_of.size()) place_of.resize(group + size_t{1});
  place_of[group] = uint16_t(shard);
  for (uint32_t i = 0; i < groups.size(); ++i) {
    const uint32_t from = places[i].load(std::memory_order_relaxed);
    if (groups[i] != group || from == shard) continue;
    Moved moved = pack(*shards[from], make_id(i, 1));
    places[i].store(uint16_t(shard), std::memory_order_relaxed);
    unpack(*shards[shard], std::move(moved));
  }
  migrations.fetch_add(1, std::memory_order_relaxed);
}

// The box is left as one that nobody has used.
Shards::State::Moved Shards::State::pack(Shard& from, AgentId agent) {
  MailboxTable& table = from.table;
  Moved moved{agent, {}, table.paused(agent), table.box_options(agent), nullptr, nullptr, {}};
  moved.native = table.native(agent, moved.native_context);
  from.batch.clear();
  // Nothing expires on the way: whoever takes it out there will see.
  while (table.receive(agent, from.batch, 0)) from.moved_out.add(1);
  for (uint8_t lane = 0; lane < lane_count; ++lane)
    moved.next_sequences[lane] = table.next_sequence(agent, lane);
  for (const Message& message : from.batch.messages()) {
    --moved.next_sequences[message.lane];
    Moved::Letter letter{message.header(), {}, {}};
    if (message.buffer)
      letter.payload = Payload::share(message.buffer);
    else
      letter.bytes.assign(message.payload.begin(), message.payload.end());
    moved.letters.push_back(std::move(letter));
  }
  from.batch.clear();
  table.set_native(agent, nullptr, nullptr);
  table.set_paused(agent, false);
  table.set_box(agent, {});
  return moved;
}

void Shards::State::unpack(Shard& into, Moved&& moved) {
  MailboxTable& table = into.table;
  for (uint8_t lane = 0; lane < lane_count; ++lane)
    table.set_next_sequence(moved.agent, lane, moved.next_sequences[lane]);
  table.set_box(moved.agent, moved.options);
  table.set_paused(moved.agent, moved.paused);
  if (moved.native) table.set_native(moved.agent, moved.native, moved.native_context);
  for (Moved::Letter& letter : moved.letters) {
    into.moved_in.add(1);
    const Payload kept = letter.payload;
    const Bytes bytes = kept ? kept.bytes() : Bytes(letter.bytes);
    const Outcome outcome = kept ? table.send_payload(letter.header, std::move(letter.payload))
                                 : table.send(letter.header, bytes);
    if (taken_up(outcome)) continue;
    if (kept)
      table.bury_payload(letter.header, outcome, kept);
    else
      table.bury(letter.header, outcome, bytes);
  }
}

}  // namespace hanse
