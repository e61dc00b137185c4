#include <gtest/gtest.h>

#include <array>
#include <string>

#include "base/clock.hpp"
#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

MessageHeader in_lane(uint8_t lane, AgentId to) {
  MessageHeader sent = header(agent(0), to);
  sent.lane = lane;
  return sent;
}

TEST(MailboxLanes, the_most_urgent_goes_first_and_no_lane_starves) {
  MailboxOptions options;
  options.ageing_messages = 4;
  MailboxTable table(options);
  table.resize(2);
  table.own();
  for (uint64_t i = 0; i < 12; ++i)
    for (uint8_t lane : {0, 3}) table.send(in_lane(lane, agent(1)), bytes_of(i));
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 0), 24u);
  std::string order;
  for (const Message& message : batch.messages()) order += char('0' + message.lane);
  EXPECT_EQ(order, "333303333033330000000000");
  std::array<uint64_t, lane_count> next{};
  for (const Message& message : batch.messages()) {
    EXPECT_EQ(message.sequence, next[message.lane]);
    EXPECT_EQ(number_in(message), next[message.lane]++);
  }
}

TEST(MailboxLanes, a_full_lane_keeps_no_other_lane_out) {
  MailboxOptions options;
  options.box_capacity_messages = 4;
  MailboxTable table(options);
  table.resize(2);
  table.own();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(table.send(in_lane(0, agent(1)), {}), Outcome::ok);
  EXPECT_EQ(table.send(in_lane(0, agent(1)), {}), Outcome::full);
  EXPECT_EQ(table.send(in_lane(1, agent(1)), {}), Outcome::ok);
  MessageHeader stop = header(agent(0), agent(1), MessageKind::cancellation);
  EXPECT_EQ(table.send(stop, {}), Outcome::ok);
  EXPECT_EQ(table.queued(agent(1), 0), 5u);
  EXPECT_EQ(table.queued(agent(1)), 6u);
  for (const bool owned : {true, false}) {
    if (!owned) table.disown();
    EXPECT_EQ(code_of([&] { table.send(in_lane(4, agent(1)), {}); }), ErrorCode::out_of_range);
  }
}

TEST(MailboxPolicies, each_does_what_it_says_when_a_box_is_full) {
  for (const BoxPolicy policy :
       {BoxPolicy::reject, BoxPolicy::credit, BoxPolicy::drop_oldest, BoxPolicy::drop_newest}) {
    MailboxTable table({});
    table.resize(2);
    table.own();
    table.set_box(agent(1), {policy, 3});
    std::vector<Outcome> outcomes;
    for (uint64_t i = 0; i < 5; ++i)
      outcomes.push_back(table.send(header(agent(0), agent(1)), bytes_of(i)));
    const Outcome last = policy == BoxPolicy::drop_oldest   ? Outcome::ok
                         : policy == BoxPolicy::drop_newest ? Outcome::dropped
                                                            : Outcome::full;
    EXPECT_EQ(outcomes[2], Outcome::ok);
    EXPECT_EQ(outcomes[3], last);
    EXPECT_EQ(outcomes[4], last);
    MessageBatch batch;
    ASSERT_EQ(table.drain(batch, 100, 0), 3u);
    EXPECT_EQ(number_in(batch.messages()[0]), policy == BoxPolicy::drop_oldest ? 2u : 0u);
    const uint64_t dropped = last == Outcome::full ? 0 : 2;
    EXPECT_EQ(table.counters().dead, dropped);
    EXPECT_EQ(table.counters().dead_by_reason[size_t(Outcome::dropped)], dropped);
    EXPECT_EQ(table.counters().refused_full, 2 - dropped);
    std::vector<AgentId> credited;
    table.take_credited(credited);
    EXPECT_EQ(credited.size(), policy == BoxPolicy::credit ? 1u : 0u);
    expect_conserved(table);
  }
}

TEST(MailboxPolicies, the_newest_of_a_key_takes_the_place_of_the_one_before) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  table.set_box(agent(1), {BoxPolicy::coalesce, 2});
  MessageHeader sent = header(agent(0), agent(1));
  for (uint64_t i = 0; i < 6; ++i) {
    sent.key = 1 + i % 2;
    EXPECT_EQ(table.send(sent, bytes_of(i)), Outcome::ok);
  }
  sent.key = 3;
  EXPECT_EQ(table.send(sent, {}), Outcome::full);
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 0), 2u);
  EXPECT_EQ(number_in(batch.messages()[0]), 4u);
  EXPECT_EQ(number_in(batch.messages()[1]), 5u);
  EXPECT_EQ(batch.messages()[1].sequence, 1u);
  EXPECT_EQ(table.counters().dead_by_reason[size_t(Outcome::coalesced)], 4u);
  // What was taken is forgotten: the next one of its key enters anew.
  sent.key = 1;
  EXPECT_EQ(table.send(sent, {}), Outcome::ok);
  EXPECT_EQ(table.queued(agent(1)), 1u);
  expect_conserved(table);
}

TEST(MailboxPolicies, a_producer_a_hundred_times_faster_stays_under_the_cap) {
  MailboxOptions options;
  options.payload_bytes_max = 1u << 20;
  MailboxTable table(options);
  table.resize(3);
  table.own();
  table.set_box(agent(1), {BoxPolicy::drop_oldest, 0});
  table.send(header(agent(0), agent(2)), {});
  const std::vector<uint8_t> payload = patterned(3000, 1);
  MessageBatch batch;
  uint64_t most = 0;
  for (int round = 0; round < 2000; ++round) {
    for (int i = 0; i < 100; ++i) table.send(header(agent(0), agent(1)), bytes_of(payload));
    batch.clear();
    table.drain(batch, 1, 0);
    most = std::max(most, table.memory_bytes());
  }
  EXPECT_LT(most, options.payload_bytes_max + (14u << 20));
  EXPECT_LE(table.queued(agent(1)), 1024u);
  expect_conserved(table);
}

TEST(MailboxGroups, a_chatty_group_takes_turns_with_a_quiet_one) {
  MailboxOptions options;
  options.group_quantum_messages = 10;
  MailboxTable table(options);
  table.resize(30);
  table.own();
  for (uint32_t i = 0; i < 20; ++i) table.set_group(agent(i), 7);
  for (uint32_t i = 0; i < 20; ++i)
    for (int k = 0; k < 100; ++k) table.send(header(agent(0), agent(i)), {});
  table.set_group(agent(25), 9);
  EXPECT_EQ(table.group(agent(25)), 9u);
  for (int k = 0; k < 5; ++k) table.send(header(agent(0), agent(25)), {});
  MessageBatch batch;
  table.drain(batch, 60, 0, 10);
  size_t quiet = 0;
  for (const Message& message : batch.messages()) quiet += message.to == agent(25);
  EXPECT_EQ(quiet, 5u);
}

TEST(MailboxCancel, a_waiting_request_leaves_its_box_and_the_rest_stays_in_order) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  for (uint64_t i = 0; i < 10; ++i) {
    MessageHeader sent = header(agent(0), agent(1), MessageKind::request);
    sent.request = i;
    table.send(sent, bytes_of(patterned(100, i)));
  }
  for (const uint64_t request : {9, 0, 4, 5}) EXPECT_TRUE(table.cancel(agent(1), request));
  EXPECT_FALSE(table.cancel(agent(1), 4));
  EXPECT_FALSE(table.cancel(agent(1), 77));
  EXPECT_EQ(table.queued(agent(1)), 6u);
  table.send(header(agent(0), agent(1)), {});
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 0), 7u);
  std::string order;
  for (const Message& message : batch.messages()) order += std::to_string(message.sequence) + " ";
  EXPECT_EQ(order, "1 2 3 6 7 8 10 ");
  EXPECT_EQ(table.counters().cancelled, 4u);
  EXPECT_EQ(table.counters().dead, 0u);
  expect_conserved(table);
}

TEST(MailboxLetters, a_letter_can_be_sent_again_once_its_box_has_room) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  table.set_box(agent(1), {BoxPolicy::drop_newest, 1});
  const std::vector<uint8_t> large = patterned(5000, 3);
  table.send(header(agent(0), agent(1)), {});
  MessageHeader sent = header(agent(0), agent(1), MessageKind::request);
  sent.request = 5, sent.deadline_ns = 10, sent.key = 8;
  EXPECT_EQ(table.send(sent, bytes_of(large)), Outcome::dropped);
  MessageBatch batch;
  table.drain(batch, 100, 100);
  ASSERT_EQ(table.dead_letters().size(), 1u);
  EXPECT_EQ(table.resend(table.dead_letters()[0].number), Outcome::ok);
  EXPECT_EQ(table.resend(0), Outcome::unknown);
  EXPECT_TRUE(table.dead_letters().empty());
  batch.clear();
  ASSERT_EQ(table.drain(batch, 100, 100), 1u);
  EXPECT_EQ(batch.messages()[0].request, 5u);
  EXPECT_EQ(batch.messages()[0].rare->key, 8u);
  EXPECT_TRUE(std::equal(large.begin(), large.end(), batch.messages()[0].payload.begin()));
  EXPECT_EQ(table.counters().resent, 1u);
  expect_conserved(table);
}

TEST(MailboxLetters, requests_that_end_undelivered_are_listed_with_their_reason) {
  MailboxOptions options;
  options.undelivered_count_max = 3;
  MailboxTable table(options);
  table.resize(2);
  table.own();
  for (uint64_t i = 1; i <= 4; ++i) {
    MessageHeader sent = header(agent(0), agent(1), MessageKind::request);
    sent.request = i;
    if (i == 2) sent.deadline_ns = 5;
    table.send(sent, {});
  }
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 2, 10), 2u);  // The second one has expired.
  table.close_box(agent(1), Outcome::revoked);
  std::vector<Undelivered> ended;
  table.take_undelivered(ended);
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(ended[0].request, 2u);
  EXPECT_EQ(ended[0].reason, Outcome::expired);
  EXPECT_EQ(ended[1].request, 4u);
  EXPECT_EQ(ended[1].reason, Outcome::revoked);
  table.take_undelivered(ended);
  EXPECT_EQ(ended.size(), 2u);
}

TEST(MailboxPayloads, a_loan_is_moved_and_an_object_is_let_go_exactly_once) {
  static int released = 0;
  released = 0;
  MailboxOptions options;
  options.payload_size_bytes_max = 10'000;
  options.payload_bytes_max = 15'000;
  {
    MailboxTable table(options);
    table.resize(2);
    table.own();
    EXPECT_EQ(code_of([&] { table.loan(10'001); }), ErrorCode::payload_too_large);
    Payload loan = table.loan(10'000);
    ASSERT_TRUE(loan);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(loan.writable()) % 64, 0u);
    EXPECT_FALSE(table.loan(10'000));
    uint8_t* bytes = loan.writable();
    EXPECT_EQ(table.send_payload(header(agent(0), agent(9)), std::move(loan)), Outcome::unknown);
    ASSERT_EQ(loan.writable(), bytes);
    EXPECT_EQ(table.send_payload(header(agent(0), agent(1)), std::move(loan)), Outcome::ok);
    int object = 5;
    for (int i = 0; i < 4; ++i)
      table.send_payload(header(agent(0), agent(1)),
                         Payload::adopt(&object, {}, [](void*) { ++released; }));
    MessageBatch batch;
    ASSERT_EQ(table.drain(batch, 3, 0), 3u);
    EXPECT_EQ(batch.messages()[0].payload.data(), bytes);
    EXPECT_EQ(Payload::share(batch.messages()[1].buffer).owner(), &object);
    size_t stride = 0;
    EXPECT_EQ(batch.rows(stride), nullptr);
    EXPECT_EQ(released, 0);
    batch.clear();
    EXPECT_EQ(released, 2);
    table.close_box(agent(1), Outcome::closed);
    EXPECT_EQ(released, 2);  // Dead letters hold them.
  }
  EXPECT_EQ(released, 4);
}

TEST(MailboxPayloads, what_a_batch_holds_outlives_the_table) {
  MessageBatch batch;
  const std::vector<uint8_t> payload = patterned(1000, 1);
  {
    MailboxTable table({});
    table.resize(1);
    table.send(header(agent(0), agent(0)), bytes_of(payload));
    table.drain(batch, 1, 0);
  }
  const Bytes kept = batch.messages()[0].payload;
  EXPECT_TRUE(std::equal(payload.begin(), payload.end(), kept.begin(), kept.end()));
}

struct Bounce {
  uint64_t left;
  uint64_t grown = 0;
};
void bounce(void* context, MailboxTable& table, const Message& message) {
  auto& state = *static_cast<Bounce*>(context);
  if (state.left == 0) return;
  --state.left;
  // The population may grow under a handler, and so may the slots.
  if (state.left % 100 == 0) table.resize(uint32_t(2 + 1000 * ++state.grown));
  table.send(header(message.to, message.sender), message.payload);
}

TEST(MailboxNative, two_handlers_play_ping_pong_and_nothing_is_lost) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  Bounce state{5000};
  for (uint32_t i = 0; i < 2; ++i) table.set_native(agent(i), &bounce, &state);
  table.send(header(agent(0), agent(1)), bytes_of(patterned(64, 1)));
  EXPECT_TRUE(table.has_native_ready());
  EXPECT_FALSE(table.has_ready());
  EXPECT_EQ(table.run_native(1000, 0), 1000u);
  EXPECT_EQ(table.run_native(SIZE_MAX, 0), 4001u);
  EXPECT_EQ(table.counters().handled, 5001u);
  EXPECT_EQ(table.counters().queued, 0u);
  table.set_native(agent(0), nullptr, nullptr);
  table.send(header(agent(1), agent(0)), {});
  MessageBatch batch;
  EXPECT_EQ(table.run_native(10, 0), 0u);
  EXPECT_EQ(table.drain(batch, 10, 0), 1u);
}

TEST(MailboxNative, a_handler_that_throws_makes_a_dead_letter_and_ends_the_run) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  table.set_native(
      agent(1),
      [](void*, MailboxTable&, const Message& message) {
        if (number_in(message) == 1) throw Error(ErrorCode::corrupt, "test", "");
      },
      nullptr);
  for (uint64_t i = 0; i < 3; ++i) table.send(header(agent(0), agent(1)), bytes_of(i));
  EXPECT_EQ(code_of([&] { table.run_native(10, 0); }), ErrorCode::corrupt);
  EXPECT_EQ(table.counters().dead, 1u);
  EXPECT_EQ(table.dead_letters().at(0).reason, Outcome::invalid);
  EXPECT_EQ(table.run_native(10, 0), 1u);
  EXPECT_EQ(table.counters().handled, 2u);
  expect_conserved(table);
}

TEST(MailboxNative, a_box_that_was_ready_before_its_handler_came_is_handled) {
  MailboxTable table({});
  table.resize(3);
  MessageBatch batch;
  uint64_t count = 0;
  const auto note = [](void* seen, MailboxTable&, const Message&) {
    ++*static_cast<uint64_t*>(seen);
  };
  table.own();
  for (uint32_t i = 1; i < 3; ++i)
    ASSERT_EQ(table.send(header(agent(0), agent(i)), {}), Outcome::ok);
  // The one is emptied without a drain and filled again, the other still waits.
  ASSERT_TRUE(table.receive(agent(1), batch, 0));
  table.set_native(agent(1), note, &count);
  table.set_native(agent(2), note, &count);
  ASSERT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::ok);
  EXPECT_TRUE(table.has_native_ready());
  EXPECT_EQ(table.run_native(10, 0), 2u);
  EXPECT_EQ(count, 2u);
  // And back again.
  ASSERT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::ok);
  table.set_native(agent(1), nullptr, nullptr);
  batch.clear();
  EXPECT_EQ(table.drain(batch, 10, 0), 1u);
  expect_conserved(table);
}

TEST(MailboxDrain, what_is_not_wanted_stays_in_its_box_and_shows_there_also_in_the_log_form) {
  for (const MailboxForm form : {MailboxForm::linked, MailboxForm::log}) {
    MailboxOptions options;
    options.form = form;
    options.box_capacity_messages = 3;
    MailboxTable table(options);
    table.resize(6);
    table.own();
    const std::vector<AgentId> to = {agent(1), agent(2), agent(1), agent(3), agent(2), agent(1)};
    const std::vector<uint8_t> payloads = patterned(to.size() * 8, 3);
    std::vector<Outcome> outcomes(to.size(), Outcome::ok);
    table.send_many(agent(0), to, {payloads.data(), to.size(), 8}, {}, outcomes);
    const WantedBoxes second{[](void*, AgentId agent) { return index_of(agent) == 2; }, nullptr};
    MessageBatch batch;
    EXPECT_EQ(table.drain(batch, 100, 0, 64, &second), 2u);
    for (const Message& message : batch.messages()) EXPECT_EQ(message.to, agent(2));
    EXPECT_EQ(table.queued(agent(1)), 3u);
    EXPECT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::full);
    batch.clear();
    EXPECT_EQ(table.drain(batch, 100, 0, 64, &second), 0u);
    // Asked about again only after unpark; then in the order in which they were left aside.
    const WantedBoxes all{[](void*, AgentId) { return true; }, nullptr};
    EXPECT_EQ(table.drain(batch, 100, 0, 64, &all), 0u);
    table.unpark();
    EXPECT_EQ(table.drain(batch, 2, 0, 64, &all), 2u);
    EXPECT_EQ(table.drain(batch, 100, 0), 2u);
    ASSERT_EQ(batch.count(), 4u);
    uint64_t next = 0;
    for (const Message& message : batch.messages()) {
      if (message.to != agent(1)) continue;
      EXPECT_EQ(message.sequence, next++);
    }
    EXPECT_EQ(next, 3u);
    expect_conserved(table);
  }
}

TEST(MailboxObservation, one_message_in_so_many_is_timed_and_traced) {
  MailboxOptions options;
  options.trace_interval = 10;
  options.seed = 4;
  auto clock = std::make_shared<ManualClock>(1000);
  options.clock = clock;
  MailboxTable table(options);
  table.resize(2);
  table.own();
  for (uint64_t i = 0; i < 95; ++i) table.send(header(agent(0), agent(1)), bytes_of(i));
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 1600), 95u);
  const QueueAges ages = table.ages();
  EXPECT_EQ(ages.counts[9], 9u);  // 600 ns
  EXPECT_EQ(ages.sum_ns, 9 * 600u);
  const std::vector<TraceRecord> traces = table.traces();
  ASSERT_EQ(traces.size(), 9u);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(traces[i].sequence, 10 * i + 9);
    EXPECT_EQ(traces[i].trace, batch.messages()[10 * i + 9].rare->trace);
    EXPECT_NE(traces[i].trace, 0u);
    EXPECT_EQ(traces[i].taken_ns - traces[i].sent_ns, 600u);
  }
}

TEST(MailboxObservation, the_digest_tells_runs_apart_and_repeats_the_same_one) {
  const auto run = [](uint64_t seed, bool backwards) {
    MailboxOptions options;
    options.digest = true;
    MailboxTable table(options);
    table.resize(20);
    table.own();
    Random random(seed);
    std::vector<std::pair<AgentId, uint64_t>> sends;
    for (int i = 0; i < 500; ++i)
      sends.push_back({agent(uint32_t(random.below(20))), random.next()});
    if (backwards) std::reverse(sends.begin(), sends.end());
    for (const auto& [to, value] : sends) table.send(header(agent(0), to), bytes_of(value));
    MessageBatch batch;
    table.drain(batch, 1000, 0);
    return table.digest();
  };
  EXPECT_EQ(run(1, false).count, 500u);
  EXPECT_EQ(run(1, false).ordered, run(1, false).ordered);
  EXPECT_NE(run(1, false).ordered, run(1, true).ordered);
  EXPECT_EQ(run(1, false).unordered, run(1, true).unordered);
  EXPECT_NE(run(1, false).unordered, run(2, false).unordered);
}

}  // namespace
}  // namespace hanse
