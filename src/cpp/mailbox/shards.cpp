#include "mailbox/shards.hpp"

#include <algorithm>

#include "mailbox/shards_state.hpp"

namespace hanse {

namespace {

// How often a sender makes room for others and looks again before a full ring is an answer.
constexpr uint32_t full_ring_tries = 64;

const ShardOptions& checked(const ShardOptions& options) {
  const auto within = [](const char* field, uint64_t value, uint64_t least, uint64_t most) {
    if (value >= least && value <= most) return;
    throw Error(ErrorCode::out_of_range, field,
                "want " + std::to_string(least) + " … " + std::to_string(most) + ", have " +
                    std::to_string(value));
  };
  within("shard_count", options.shard_count, 1, 64);
  within("ring_size_bytes", options.ring_size_bytes, 1u << 12, 1u << 30);
  within("turn_messages", options.turn_messages, 1, 1u << 24);
  return options;
}

// The table counted it as accepted, whatever became of it.
bool taken_up(Outcome outcome) { return outcome == Outcome::ok || outcome == Outcome::dropped; }

MailboxOptions of_shard(MailboxOptions options, uint32_t shard) {
  options.shard = shard;
  return options;
}

}  // namespace

Shards::State::State(const ShardOptions& wanted)
    : options(checked(wanted)),
      clock(options.mailboxes.clock ? options.mailboxes.clock : std::make_shared<SystemClock>()),
      account(new PayloadAccount(options.mailboxes.payload_bytes_max)),
      place_of(1),
      meeting(options.shard_count) {
  for (uint32_t from = 0; from < options.shard_count; ++from) {
    shards.push_back(std::make_unique<Shard>(of_shard(options.mailboxes, from)));
    shards.back()->leaving.resize(options.shard_count);
    for (uint32_t to = 0; to < options.shard_count; ++to)
      rings.push_back(from == to ? nullptr : std::make_unique<ShardRing>(options.ring_size_bytes));
  }
}

Shards::State::~State() {
  for (uint32_t shard = 0; shard < options.shard_count; ++shard)
    for (uint32_t from = 0; from < options.shard_count; ++from) {
      if (from == shard) continue;
      ring(from, shard).publish();
      ring(from, shard).take_all([](ShardRing::Cell& cell) {
        if (cell.size <= message_inline_bytes) return;
        PayloadBuffer* buffer;
        std::memcpy(&buffer, cell.payload, sizeof buffer);
        Payload::drop(buffer);
      });
    }
  account->release();
}

void Shards::State::check_shard(uint32_t shard) const {
  if (shard >= options.shard_count)
    throw Error(ErrorCode::out_of_range, "shard", shard, options.shard_count - 1);
}

Shards::State::Shard& Shards::State::enter(uint32_t shard) {
  check_shard(shard);
  Shard& entered = *shards[shard];
  std::thread::id nobody;
  const std::thread::id me = std::this_thread::get_id();
  if (entered.thread.load(std::memory_order_relaxed) == me) return entered;
  if (!entered.thread.compare_exchange_strong(nobody, me))
    throw Error(ErrorCode::wrong_thread, "shard", "another thread drives it", shard);
  entered.table.own();
  return entered;
}

void Shards::State::require_still() const {
  if (running.load() != 0)
    throw Error(ErrorCode::illegal_transition, "shards", "a thread is in `run`");
}

// --- between shards

Outcome Shards::State::push(uint32_t from, uint32_t to, const MessageHeader& header,
                            Bytes payload) {
  ShardRing& target = ring(from, to);
  ShardRing::Cell* cell = target.push();
  for (uint32_t i = 0; !cell && i < full_ring_tries; ++i) {
    // Who should make room there may wait for room here.
    publish(from);
    absorb(from);
    std::this_thread::yield();
    cell = target.push();
  }
  if (!cell) {
    shards[from]->ring_full.add(1);
    return Outcome::full;
  }
  cell->set_header(header);
  cell->size = uint32_t(payload.size());
  if (payload.size() <= message_inline_bytes) {
    if (!payload.empty()) std::memcpy(cell->payload, payload.data(), payload.size());
    shards[from]->pushed.add(1);
    return Outcome::ok;
  }
  Payload lent = Payload::lent(*account, payload.size());
  if (!lent) {
    target.take_back();
    shards[from]->ring_full.add(1);
    return Outcome::full;
  }
  std::memcpy(lent.writable(), payload.data(), payload.size());
  PayloadBuffer* buffer = lent.detach();
  std::memcpy(cell->payload, &buffer, sizeof buffer);
  shards[from]->pushed.add(1);
  return Outcome::ok;
}

// It was accepted when it left: what has no room now is a dead letter.
void Shards::State::put(Shard& shard, const MessageHeader& header, Bytes payload) {
  const Outcome outcome = shard.table.send(header, payload);
  if (!taken_up(outcome)) shard.table.bury(header, outcome, payload);
}

void Shards::State::absorb(uint32_t shard) {
  Shard& into = *shards[shard];
  for (uint32_t from = 0; from < options.shard_count; ++from) {
    if (from == shard) continue;
    ring(from, shard).take_all([&](ShardRing::Cell& cell) {
      if (cell.size <= message_inline_bytes) {
        put(into, cell.header(), {cell.payload, cell.size});
        return;
      }
      PayloadBuffer* buffer;
      std::memcpy(&buffer, cell.payload, sizeof buffer);
      const Payload payload = Payload::attach(buffer);
      put(into, cell.header(), payload.bytes());
    });
  }
}

void Shards::State::publish(uint32_t shard) {
  for (uint32_t to = 0; to < options.shard_count; ++to) {
    if (to == shard || !ring(shard, to).unpublished()) continue;
    ring(shard, to).publish();
    std::atomic<uint32_t>& asleep = shards[to]->asleep;
    if (asleep.load(std::memory_order_seq_cst) == 0 || asleep.exchange(0) == 0) continue;
    wakes.fetch_add(1, std::memory_order_relaxed);
    asleep.notify_one();
  }
}

void Shards::State::wake(uint32_t shard) {
  Shard& woken = *shards[shard];
  woken.calls.fetch_add(1);
  if (woken.asleep.exchange(0) != 0) woken.asleep.notify_one();
}

// Whoever publishes or calls after the look around below finds `asleep` set.
void Shards::State::sleep(uint32_t shard, uint64_t calls_seen) {
  Shard& sleeper = *shards[shard];
  sleeper.asleep.store(1, std::memory_order_seq_cst);
  bool awake = sleeper.calls.load() != calls_seen;
  for (uint32_t from = 0; from < options.shard_count && !awake; ++from)
    awake = from != shard && !ring(from, shard).empty();
  if (!awake) sleeper.asleep.wait(1);
  sleeper.asleep.store(0, std::memory_order_seq_cst);
}

// --- the public face

Shards::Shards(const ShardOptions& options) : state_(std::make_unique<State>(options)) {}
Shards::~Shards() = default;

uint32_t Shards::count() const { return state_->options.shard_count; }

void Shards::resize(uint32_t agent_count) {
  State& state = *state_;
  state.require_still();
  if (agent_count <= state.groups.size()) return;
  state.groups.resize(agent_count);
  state.shard_of.resize(agent_count, state.place_of[0]);
  for (const auto& shard : state.shards) shard->table.resize(agent_count);
}

void Shards::set_group(AgentId agent, uint32_t group) {
  State& state = *state_;
  state.require_still();
  if (!state.exists(agent))
    throw Error(ErrorCode::unknown_agent, "agent", "it has no mailbox", agent);
  if (group >= state.place_of.size()) state.place_of.resize(group + size_t{1});
  state.groups[index_of(agent)] = group;
  state.shard_of[index_of(agent)] = state.place_of[group];
}

void Shards::place(uint32_t group, uint32_t shard) {
  State& state = *state_;
  state.require_still();
  state.check_shard(shard);
  if (group >= state.place_of.size()) state.place_of.resize(group + size_t{1});
  state.place_of[group] = uint16_t(shard);
  for (size_t i = 0; i < state.groups.size(); ++i)
    if (state.groups[i] == group) state.shard_of[i] = uint16_t(shard);
}

uint32_t Shards::shard_of(AgentId agent) const {
  if (!state_->exists(agent))
    throw Error(ErrorCode::unknown_agent, "agent", "it has no mailbox", agent);
  return state_->shard_of[index_of(agent)];
}

Outcome Shards::send(uint32_t shard, const MessageHeader& header, Bytes payload) {
  State& state = *state_;
  State::Shard& from = state.enter(shard);
  const bool known = state.exists(header.to);
  const uint32_t to = known ? state.shard_of[index_of(header.to)] : shard;
  if (to != shard && payload.size() <= state.options.mailboxes.payload_size_bytes_max)
    return state.push(shard, to, header, payload);
  const Outcome outcome = from.table.send(header, payload);
  if (taken_up(outcome)) from.local.add(1);
  return outcome;
}

void Shards::send_many(uint32_t shard, const MessageHeader& header, std::span<const AgentId> to,
                       MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                       std::span<Outcome> outcomes_in_out) {
  State& state = *state_;
  State::Shard& from = state.enter(shard);
  MessageHeader crossing = header;
  // Rows for other shards are held back from the table by an outcome that is not ok. Shapes are
  // the table's to check, and it does so before it looks at a row.
  std::vector<size_t> away;
  if (outcomes_in_out.size() == to.size())
    for (size_t i = 0; i < to.size(); ++i)
      if (outcomes_in_out[i] == Outcome::ok && state.exists(to[i]) &&
          state.shard_of[index_of(to[i])] != shard) {
        outcomes_in_out[i] = Outcome::aborted;
        away.push_back(i);
      }
  std::vector<Outcome> before(outcomes_in_out.begin(), outcomes_in_out.end());
  from.table.send_many(header, to, payloads, sizes, outcomes_in_out);
  uint64_t accepted = 0;
  for (size_t i = 0; i < before.size(); ++i)
    accepted += before[i] == Outcome::ok && taken_up(outcomes_in_out[i]);
  from.local.add(accepted);
  for (const size_t i : away) {
    crossing.to = to[i];
    const Bytes payload{payloads.row(i), sizes.empty() ? payloads.columns : sizes[i]};
    const bool fits = payload.size() <= state.options.mailboxes.payload_size_bytes_max;
    const uint32_t there = state.shard_of[index_of(to[i])];
    outcomes_in_out[i] =
        fits ? state.push(shard, there, crossing, payload) : from.table.send(crossing, payload);
  }
}

size_t Shards::turn(uint32_t shard, ShardHandler handler, void* context, uint64_t now_ns) {
  State& state = *state_;
  State::Shard& here = state.enter(shard);
  if (here.in_turn)
    throw Error(ErrorCode::illegal_transition, "turn", "inside a handler of the same shard", shard);
  struct Turn {
    State& state;
    uint32_t shard;
    ~Turn() {
      state.shards[shard]->in_turn = false;
      state.publish(shard);
    }
  } turn{state, shard};
  here.in_turn = true;
  state.absorb(shard);
  here.batch.clear();
  const size_t count = here.table.drain(here.batch, state.options.turn_messages, now_ns);
  if (count != 0) handler(context, *this, shard, here.batch);
  return count;
}

void Shards::run(uint32_t shard, ShardHandler handler, void* context) {
  State& state = *state_;
  State::Shard& here = state.enter(shard);
  struct Running {
    std::atomic<uint32_t>& count;
    explicit Running(std::atomic<uint32_t>& running) : count(running) { ++count; }
    ~Running() { --count; }
  } running(state.running);
  uint32_t idle = 0;
  while (!state.stopping.load(std::memory_order_acquire)) {
    const uint64_t calls = here.calls.load();
    if (state.migration_wanted.load(std::memory_order_acquire) &&
        state.running.load() == state.options.shard_count)
      state.migrate_here(shard);
    if (turn(shard, handler, context, state.now_ns()) != 0) {
      idle = 0;
    } else if (++idle > state.options.spin_count) {
      state.sleep(shard, calls);
      idle = 0;
    }
  }
}

void Shards::stop() {
  state_->stopping.store(true, std::memory_order_release);
  for (uint32_t shard = 0; shard < state_->options.shard_count; ++shard) state_->wake(shard);
  state_->meeting.look_again();
}

void Shards::wake(uint32_t shard) {
  state_->check_shard(shard);
  state_->wake(shard);
}

MailboxTable& Shards::table(uint32_t shard) {
  state_->check_shard(shard);
  return state_->shards[shard]->table;
}

}  // namespace hanse
