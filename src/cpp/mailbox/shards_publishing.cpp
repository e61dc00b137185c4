// From one shard to many agents, to wherever a dead letter's receiver is, and after a request.
#include <algorithm>

#include "mailbox/shards_state.hpp"

namespace hanse {

namespace {

// Of one cell: who takes it in is not held up for longer, and the list is not one block of memory.
constexpr size_t publication_receivers_max = 16'384;

}  // namespace

std::mutex& Shards::topics_mutex() { return state_->topics_mutex; }
TopicDirectory& Shards::topics() { return state_->topics; }
void Shards::count_publication() { state_->published.fetch_add(1, std::memory_order_relaxed); }

size_t Shards::publish_to(uint32_t shard, const MessageHeader& header, std::span<const AgentId> to,
                          const Payload& payload, std::span<Outcome> outcomes_in_out) {
  State& state = *state_;
  State::Shard& from = state.enter(shard);
  if (outcomes_in_out.size() != to.size())
    throw Error(ErrorCode::dimension_mismatch, "outcomes", outcomes_in_out.size(), to.size());
  std::vector<std::vector<size_t>> away(state.options.shard_count);
  for (size_t i = 0; i < to.size(); ++i) {
    const uint32_t home = state.exists(to[i]) ? state.home(to[i]) : shard;
    if (outcomes_in_out[i] != Outcome::ok || home == shard) continue;
    if (payload.adopted())
      throw Error(ErrorCode::wrong_thread, "payload", "the receiver is on another shard", to[i]);
    away[home].push_back(i);
  }
  // Held back from the table; its checks come before anything is sent.
  for (const auto& rows : away)
    for (const size_t i : rows) outcomes_in_out[i] = Outcome::aborted;
  from.table.send_shared(header, to, payload, outcomes_in_out);

  for (uint32_t home = 0; home < state.options.shard_count; ++home) {
    for (size_t at = 0; at < away[home].size(); at += publication_receivers_max) {
      const std::span<const size_t> rows =
          std::span(away[home])
              .subspan(at, std::min(publication_receivers_max, away[home].size() - at));
      auto sent = std::make_unique<ShardPublication>();
      sent->header = header;
      sent->payload = payload;
      for (const size_t i : rows) sent->to.push_back(to[i]);
      ShardRing::Cell* const cell = state.cell_for(shard, home);
      for (const size_t i : rows) outcomes_in_out[i] = cell ? Outcome::ok : Outcome::full;
      if (!cell) continue;
      cell->set_publication(std::move(sent));
      from.pushed.add(rows.size());
    }
  }
  if (!from.in_turn) state.publish(shard);
  return size_t(std::count(outcomes_in_out.begin(), outcomes_in_out.end(), Outcome::ok));
}

void Shards::cancel(uint32_t shard, AgentId to, uint64_t request) {
  State& state = *state_;
  State::Shard& from = state.enter(shard);
  if (!state.exists(to)) return;
  const uint32_t home = state.home(to);
  if (home == shard) {
    from.table.cancel(to, request);
    return;
  }
  // A full ring: the request reaches its handler, and its answer nobody.
  ShardRing::Cell* const cell = state.cell_for(shard, home);
  if (!cell) return;
  MessageHeader header;
  header.to = to;
  header.request = request;
  cell->set_header(header);
  cell->content = ShardRing::Content::cancellation;
  cell->size = 0;
  if (!from.in_turn) state.publish(shard);
}

Outcome Shards::resend(uint64_t number) {
  State& state = *state_;
  const uint32_t here = driven_here();
  const Outcome outcome = state.options.mailboxes.letters->resend(
      number, [&](const MessageHeader& header, Payload&& payload, Bytes bytes) {
        if (here == index_none)
          return payload ? send_foreign(header, std::move(payload)) : send_foreign(header, bytes);
        return payload ? send_payload(here, header, std::move(payload)) : send(here, header, bytes);
      });
  if (taken_up(outcome)) state.resent.fetch_add(1, std::memory_order_relaxed);
  return outcome;
}

}  // namespace hanse
