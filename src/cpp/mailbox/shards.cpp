#include "mailbox/shards.hpp"

#include <algorithm>

#include "mailbox/shards_state.hpp"

namespace hanse {

namespace {

// How often a sender makes room for others and looks again before a full ring is an answer.
constexpr uint32_t full_ring_tries = 64;
constexpr size_t agent_count_max = size_t(1) << 28;  // address space that is set aside

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

// Dead letters are numbered together, and no two shards give a message the same trace.
MailboxOptions of_shard(MailboxOptions options, uint32_t shard) {
  options.shard = shard;
  options.seed += shard * 0x9e3779b97f4a7c15;
  return options;
}

ShardOptions with_letters(ShardOptions options) {
  options.mailboxes.letters =
      std::make_shared<DeadLetters>(options.mailboxes.payload_bytes_max / 8);
  return options;
}

}  // namespace

Shards::State::State(const ShardOptions& wanted)
    : options(with_letters(checked(wanted))),
      clock(options.mailboxes.clock ? options.mailboxes.clock : std::make_shared<SystemClock>()),
      account(new PayloadAccount(options.mailboxes.payload_bytes_max)),
      places(agent_count_max),
      topics(options.mailboxes.topic_count_max, options.mailboxes.subscription_count_max) {
  for (uint32_t from = 0; from < options.shard_count; ++from) {
    shards.push_back(std::make_unique<Shard>(of_shard(options.mailboxes, from)));
    for (uint32_t to = 0; to < options.shard_count; ++to)
      rings.push_back(from == to ? nullptr : std::make_unique<ShardRing>(options.ring_size_bytes));
  }
}

Shards::State::~State() {
  for (uint32_t shard = 0; shard < options.shard_count; ++shard)
    for (uint32_t from = 0; from < options.shard_count; ++from) {
      if (from == shard) continue;
      ring(from, shard).publish();
      ring(from, shard).take_all([](std::span<ShardRing::Cell> cells) {
        for (const ShardRing::Cell& cell : cells) cell.drop();
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
  if (!entered.table.owned_by_caller()) entered.table.own();
  return entered;
}

// --- between shards

ShardRing::Cell* Shards::State::cell_for(uint32_t from, uint32_t to) {
  ShardRing& target = ring(from, to);
  ShardRing::Cell* cell = target.push();
  for (uint32_t i = 0; !cell && i < full_ring_tries; ++i) {
    // Who should make room there may wait for room here.
    publish(from);
    absorb(from);
    std::this_thread::yield();
    cell = target.push();
  }
  if (!cell) shards[from]->ring_full.add(1);
  return cell;
}

// `buffer`, or null: the payload by reference, which is taken over by ok.
Outcome Shards::State::push(uint32_t from, uint32_t to, const MessageHeader& header, Bytes payload,
                            PayloadBuffer* buffer) {
  ShardRing::Cell* const cell = cell_for(from, to);
  if (!cell) return Outcome::full;
  cell->set_header(header);
  cell->size = uint32_t(payload.size());
  if (payload.size() <= message_inline_bytes) {
    if (!payload.empty()) std::memcpy(cell->payload, payload.data(), payload.size());
    shards[from]->pushed.add(1);
    if (buffer) Payload::drop(buffer);
    return Outcome::ok;
  }
  if (!buffer) {
    Payload lent = Payload::lent(*account, payload.size());
    if (!lent) {
      ring(from, to).take_back();
      shards[from]->ring_full.add(1);
      return Outcome::full;
    }
    std::memcpy(lent.writable(), payload.data(), payload.size());
    buffer = lent.detach();
  }
  std::memcpy(cell->payload, &buffer, sizeof buffer);
  shards[from]->pushed.add(1);
  return Outcome::ok;
}

// It was accepted when it left: what has no room now is a dead letter.
void Shards::State::absorb_one(Shard& into, ShardRing::Cell& cell) {
  const MessageHeader header = cell.header();
  Payload payload;
  Bytes bytes{cell.payload, cell.size};
  Outcome outcome;
  if (cell.size > message_inline_bytes) {
    payload = Payload::attach(cell.buffer());
    bytes = payload.bytes();
    outcome = into.table.send_payload(header, Payload(payload));
  } else {
    outcome = into.table.send(header, bytes);
  }
  if (taken_up(outcome)) return;
  if (payload)
    into.table.bury_payload(header, outcome, payload);
  else
    into.table.bury(header, outcome, bytes);
}

// What is no message.
void Shards::State::absorb_other(Shard& into, ShardRing::Cell& cell) {
  if (cell.content == ShardRing::Content::cancellation) {
    into.table.cancel(cell.to, cell.request);
    return;
  }
  const std::unique_ptr<ShardPublication> sent = cell.publication();
  into.taken_in.add(sent->to.size());
  into.arrivals.outcomes.assign(sent->to.size(), Outcome::ok);
  into.table.send_shared(sent->header, sent->to, sent->payload, into.arrivals.outcomes);
  MessageHeader header = sent->header;
  for (size_t i = 0; i < sent->to.size(); ++i) {
    if (taken_up(into.arrivals.outcomes[i])) continue;
    header.to = sent->to[i];
    into.table.bury_payload(header, into.arrivals.outcomes[i], sent->payload);
  }
}

// As many of the first cells as are plain, in one go. Returns how many.
size_t Shards::State::absorb_rows(Shard& into, std::span<ShardRing::Cell> cells) {
  ShardArrivals& rows = into.arrivals;
  rows.clear();
  for (const ShardRing::Cell& cell : cells) {
    if (!cell.plain()) break;
    rows.to.push_back(cell.to);
    rows.senders.push_back(cell.sender);
    rows.sizes.push_back(cell.size);
  }
  const size_t count = rows.to.size();
  if (count == 0) return 0;
  rows.outcomes.assign(count, Outcome::ok);
  into.table.send_arrived({rows.senders, rows.to, rows.sizes, cells[0].payload, sizeof cells[0]},
                          rows.outcomes);
  for (size_t i = 0; i < count; ++i)
    if (!taken_up(rows.outcomes[i]))
      into.table.bury(cells[i].header(), rows.outcomes[i], {cells[i].payload, cells[i].size});
  return count;
}

void Shards::State::absorb(uint32_t shard) {
  Shard& into = *shards[shard];
  for (uint32_t from = 0; from < options.shard_count; ++from) {
    if (from == shard) continue;
    ring(from, shard).take_all([&](std::span<ShardRing::Cell> cells) {
      while (!cells.empty()) {
        size_t count = 1;
        if (cells[0].content != ShardRing::Content::message) {
          absorb_other(into, cells[0]);
        } else {
          count = absorb_rows(into, cells);
          if (count == 0) absorb_one(into, cells[0]), count = 1;
          into.taken_in.add(count);
        }
        cells = cells.subspan(count);
      }
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
    if (shards[to]->waker)
      shards[to]->waker(shards[to]->waker_context);
    else
      asleep.notify_one();
  }
}

void Shards::State::wake(uint32_t shard) {
  Shard& woken = *shards[shard];
  woken.calls.fetch_add(1);
  if (woken.asleep.exchange(0) == 0) return;
  if (woken.waker)
    woken.waker(woken.waker_context);
  else
    woken.asleep.notify_one();
}

// `asleep` is set from now on, unless something came before.
bool Shards::State::nothing_came(uint32_t shard, uint64_t calls_seen) {
  Shard& here = *shards[shard];
  here.asleep.store(1, std::memory_order_seq_cst);
  // Whoever publishes or calls after this look around finds `asleep` set.
  bool came = here.calls.load() != calls_seen;
  for (uint32_t from = 0; from < options.shard_count && !came; ++from)
    came = from != shard && !ring(from, shard).empty();
  if (came) here.asleep.store(0, std::memory_order_seq_cst);
  return !came;
}

void Shards::State::sleep(uint32_t shard, uint64_t calls_seen) {
  if (nothing_came(shard, calls_seen)) shards[shard]->asleep.wait(1);
  shards[shard]->asleep.store(0, std::memory_order_seq_cst);
}

// --- the public face

Shards::Shards(const ShardOptions& options) : state_(std::make_unique<State>(options)) {}
Shards::~Shards() = default;

uint32_t Shards::count() const { return state_->options.shard_count; }
uint32_t Shards::agent_count() const { return state_->agent_count.load(std::memory_order_acquire); }

void Shards::resize(uint32_t agent_count, std::span<const uint32_t> groups_of_new) {
  State& state = *state_;
  const std::lock_guard lock(state.doors);
  const auto known = uint32_t(state.groups.size());
  if (agent_count <= known) return;
  if (agent_count > agent_count_max)
    throw Error(ErrorCode::out_of_range, "agent_count", agent_count, agent_count_max);
  if (!groups_of_new.empty() && groups_of_new.size() != agent_count - known)
    throw Error(ErrorCode::dimension_mismatch, "groups", groups_of_new.size(), agent_count - known);
  state.groups.resize(agent_count);
  state.places.commit(agent_count);
  for (uint32_t i = known; i < agent_count; ++i) {
    const uint32_t group = groups_of_new.empty() ? 0 : groups_of_new[i - known];
    state.groups[i] = group;
    state.places[i].store(state.place(group), std::memory_order_relaxed);
  }
  for (const auto& shard : state.shards) shard->table.resize(agent_count);
  state.agent_count.store(agent_count, std::memory_order_release);
}

void Shards::set_group(AgentId agent, uint32_t group) {
  State& state = *state_;
  if (!state.exists(agent))
    throw Error(ErrorCode::unknown_agent, "agent", "it has no mailbox", agent);
  const std::lock_guard runs(state.run_mutex);
  if (state.running != 0)
    throw Error(ErrorCode::illegal_transition, "shards", "a thread is in `run`");
  const std::lock_guard lock(state.doors);
  state.groups[index_of(agent)] = group;
  state.places[index_of(agent)].store(state.place(group), std::memory_order_relaxed);
}

uint32_t Shards::shard_of(AgentId agent) const {
  if (!state_->exists(agent))
    throw Error(ErrorCode::unknown_agent, "agent", "it has no mailbox", agent);
  return state_->home(agent);
}

uint32_t Shards::driven_here() const {
  uint32_t found = index_none;
  for (uint32_t shard = 0; shard < count(); ++shard) {
    const State::Shard& of = *state_->shards[shard];
    if (!of.table.owned_by_caller()) continue;
    if (of.in_turn) return shard;
    if (found == index_none) found = shard;
  }
  return found;
}

Outcome Shards::send(uint32_t shard, const MessageHeader& header, Bytes payload) {
  State& state = *state_;
  State::Shard& from = state.enter(shard);
  const uint32_t to = state.exists(header.to) ? state.home(header.to) : shard;
  if (to == shard || payload.size() > state.options.mailboxes.payload_size_bytes_max)
    return from.table.send(header, payload);
  const Outcome outcome = state.push(shard, to, header, payload, nullptr);
  if (!from.in_turn) state.publish(shard);
  return outcome;
}

Outcome Shards::send_payload(uint32_t shard, const MessageHeader& header, Payload&& payload) {
  State& state = *state_;
  State::Shard& from = state.enter(shard);
  const uint32_t to = state.exists(header.to) ? state.home(header.to) : shard;
  if (to == shard || payload.size() > state.options.mailboxes.payload_size_bytes_max)
    return from.table.send_payload(header, std::move(payload));
  if (payload.adopted())
    throw Error(ErrorCode::wrong_thread, "payload", "the receiver is on another shard", header.to);
  const Outcome outcome = state.push(shard, to, header, payload.bytes(), payload.buffer());
  if (outcome == Outcome::ok) (void)payload.detach();
  if (!from.in_turn) state.publish(shard);
  return outcome;
}

Outcome Shards::send_foreign(const MessageHeader& header, Bytes payload) {
  State& state = *state_;
  const std::lock_guard lock(state.doors);
  const uint32_t to = state.exists(header.to) ? state.home(header.to) : 0;
  const Outcome outcome = state.shards[to]->table.send(header, payload);
  state.wake(to);
  return outcome;
}

Outcome Shards::send_foreign(const MessageHeader& header, Payload&& payload) {
  State& state = *state_;
  const std::lock_guard lock(state.doors);
  const uint32_t to = state.exists(header.to) ? state.home(header.to) : 0;
  const Outcome outcome = state.shards[to]->table.send_payload(header, std::move(payload));
  state.wake(to);
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
      if (outcomes_in_out[i] == Outcome::ok && state.exists(to[i]) && state.home(to[i]) != shard) {
        outcomes_in_out[i] = Outcome::aborted;
        away.push_back(i);
      }
  from.table.send_many(header, to, payloads, sizes, outcomes_in_out);
  for (const size_t i : away) {
    crossing.to = to[i];
    const Bytes payload{payloads.row(i), sizes.empty() ? payloads.columns : sizes[i]};
    const bool fits = payload.size() <= state.options.mailboxes.payload_size_bytes_max;
    outcomes_in_out[i] = fits ? state.push(shard, state.home(to[i]), crossing, payload, nullptr)
                              : from.table.send(crossing, payload);
  }
  if (!from.in_turn) state.publish(shard);
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
      // Who asked is told by the thread of shard 0.
      if (shard != 0 && state.shards[shard]->table.has_undelivered()) state.wake(0);
    }
  } turn{state, shard};
  here.in_turn = true;
  if (state.options.before_turn) state.options.before_turn(state.options.before_context, shard);
  state.absorb(shard);
  const size_t count = here.table.run_native(state.options.turn_messages, now_ns);
  if (!handler) return count;
  here.batch.clear();
  const size_t drained = here.table.drain(here.batch, state.options.turn_messages, now_ns);
  if (drained != 0) handler(context, *this, shard, here.batch);
  return count + drained;
}

void Shards::take_in(uint32_t shard) {
  state_->enter(shard);
  state_->absorb(shard);
}

void Shards::publish(uint32_t shard) {
  state_->enter(shard);
  state_->publish(shard);
}

bool Shards::rest(uint32_t shard) {
  return state_->nothing_came(shard, state_->enter(shard).calls.load());
}

void Shards::set_waker(uint32_t shard, void (*waker)(void*), void* context) {
  state_->check_shard(shard);
  state_->shards[shard]->waker = waker;
  state_->shards[shard]->waker_context = context;
}

void Shards::run(uint32_t shard, ShardHandler handler, void* context) {
  State& state = *state_;
  state.check_shard(shard);
  state.begin_run(shard);
  struct Running {
    State& state;
    const uint32_t shard;
    ~Running() { state.end_run(shard); }
  } running{state, shard};
  State::Shard& here = *state.shards[shard];
  uint32_t idle = 0;
  while (!state.stopping.load(std::memory_order_acquire)) {
    const uint64_t calls = here.calls.load();
    if (state.pausing.load(std::memory_order_acquire)) state.rest_in_run(shard);
    if (turn(shard, handler, context, state.clock->now_ns()) != 0) {
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
