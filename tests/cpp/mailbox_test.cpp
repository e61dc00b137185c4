#include <gtest/gtest.h>

#include <string>

#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

TEST(Mailbox, a_message_comes_out_as_it_went_in) {
  for (const size_t size : {0, 1, 63, 64, 65, 4096}) {
    MailboxTable table({});
    table.resize(4);
    table.own();
    const std::vector<uint8_t> payload = patterned(size, size);
    MessageHeader sent = header(make_id(1, 7), make_id(3, 9), MessageKind::request);
    sent.request = 0x0123456789abcdef;
    ASSERT_EQ(table.send(sent, bytes_of(payload)), Outcome::ok);

    MessageBatch batch;
    ASSERT_EQ(table.drain(batch, 10, 0), 1u);
    const Message& message = batch.messages().at(0);
    EXPECT_EQ(message.to, sent.to);
    EXPECT_EQ(message.sender, sent.sender);
    EXPECT_EQ(message.kind, MessageKind::request);
    EXPECT_EQ(message.request, sent.request);
    EXPECT_EQ(message.sequence, 0u);
    EXPECT_EQ(std::vector<uint8_t>(message.payload.begin(), message.payload.end()), payload);

    size_t stride = 0;
    const uint8_t* rows = batch.rows(stride);
    EXPECT_EQ(stride, 64u);
    if (size > 64) {
      EXPECT_EQ(rows, nullptr);
    } else {
      std::vector<uint8_t> padded = payload;
      padded.resize(64);
      EXPECT_EQ(std::vector<uint8_t>(rows, rows + 64), padded);
    }
  }
}

TEST(Mailbox, a_row_holds_nothing_of_the_message_that_used_its_slot_before) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  MessageBatch batch;
  table.send(header(agent(0), agent(1)), bytes_of(std::vector<uint8_t>(64, 0xee)));
  table.drain(batch, 1, 0);
  batch.clear();
  table.send(header(agent(0), agent(1)), bytes_of(std::vector<uint8_t>{1, 2, 3}));
  table.drain(batch, 1, 0);
  size_t stride = 0;
  const uint8_t* row = batch.rows(stride);
  std::vector<uint8_t> expected(64);
  expected[0] = 1, expected[1] = 2, expected[2] = 3;
  EXPECT_EQ(std::vector<uint8_t>(row, row + 64), expected);
}

TEST(Mailbox, payloads_stay_valid_while_a_batch_grows_over_several_drains) {
  MailboxTable table({});
  table.resize(3);
  table.own();
  MessageBatch batch;
  for (uint64_t i = 0; i < 500; ++i) {
    table.send(header(agent(0), agent(1)), bytes_of(i));
    if (i % 7 == 0) table.send(header(agent(0), agent(2)), bytes_of(patterned(100, i)));
    table.drain(batch, 10, 0);
  }
  uint64_t next = 0, next_large = 0;
  for (const Message& message : batch.messages()) {
    if (message.to == agent(1)) {
      EXPECT_EQ(number_in(message), next++);
    } else {
      const std::vector<uint8_t> expected = patterned(100, next_large);
      next_large += 7;
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), message.payload.begin()));
    }
  }
  EXPECT_EQ(next, 500u);
}

TEST(Mailbox, unknown_agents_and_long_payloads_are_refused_and_counted) {
  MailboxOptions options;
  options.payload_size_bytes_max = 100;
  MailboxTable table(options);
  table.resize(2);
  for (const bool owned : {false, true}) {
    if (owned) table.own();
    EXPECT_EQ(table.send(header(agent(0), agent(2)), {}), Outcome::unknown);
    EXPECT_EQ(table.send(header(agent(0), id_none), {}), Outcome::unknown);
    EXPECT_EQ(table.send(header(agent(0), agent(1)), bytes_of(patterned(101, 1))),
              Outcome::too_large);
    EXPECT_EQ(table.send(header(agent(0), agent(1)), bytes_of(patterned(100, 1))), Outcome::ok);
  }
  const MailboxCounters counters = table.counters();
  EXPECT_EQ(counters.refused_unknown, 4u);
  EXPECT_EQ(counters.refused_too_large, 2u);
  EXPECT_EQ(counters.accepted, 2u);
  MessageBatch batch;
  EXPECT_EQ(code_of([&] { table.receive(agent(2), batch, 0); }), ErrorCode::unknown_agent);
  EXPECT_EQ(code_of([&] { table.set_paused(agent(2), true); }), ErrorCode::unknown_agent);
  EXPECT_EQ(code_of([&] { table.close_box(agent(2), Outcome::closed); }), ErrorCode::unknown_agent);
  EXPECT_EQ(code_of([&] { table.close_box(agent(1), Outcome::ok); }), ErrorCode::out_of_range);
  EXPECT_EQ(code_of([&] { table.drain(batch, 1, 0, 0); }), ErrorCode::out_of_range);
}

TEST(Mailbox, options_outside_their_range_are_refused) {
  MailboxOptions none, large;
  none.box_capacity_messages = 0;
  large.payload_size_bytes_max = 1u << 30;
  EXPECT_EQ(code_of([&] { MailboxTable table(none); }), ErrorCode::out_of_range);
  EXPECT_EQ(code_of([&] { MailboxTable table(large); }), ErrorCode::out_of_range);
}

TEST(Mailbox, a_full_box_refuses_work_but_has_an_eighth_more_for_answers) {
  MailboxOptions options;
  options.box_capacity_messages = 16;
  MailboxTable table(options);
  table.resize(2);
  table.own();
  for (int i = 0; i < 16; ++i) EXPECT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::ok);
  EXPECT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::full);
  EXPECT_EQ(table.send(header(agent(0), agent(1), MessageKind::request), {}), Outcome::full);
  EXPECT_EQ(table.send(header(agent(0), agent(1), MessageKind::reply), {}), Outcome::ok);
  EXPECT_EQ(table.send(header(agent(0), agent(1), MessageKind::failure), {}), Outcome::ok);
  EXPECT_EQ(table.send(header(agent(0), agent(1), MessageKind::reply), {}), Outcome::full);
  EXPECT_EQ(table.send(header(agent(0), agent(0)), {}), Outcome::ok);
  EXPECT_EQ(table.queued(agent(1)), 18u);
  EXPECT_EQ(table.counters().refused_full, 3u);

  MessageBatch batch;
  EXPECT_TRUE(table.receive(agent(1), batch, 0));
  EXPECT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::full);
  EXPECT_EQ(table.send(header(agent(0), agent(1), MessageKind::reply), {}), Outcome::ok);
}

TEST(Mailbox, all_boxes_together_are_bounded) {
  MailboxOptions options;
  options.message_count_max = 100;
  MailboxTable table(options);
  table.resize(1000);
  table.own();
  for (uint32_t i = 0; i < 100; ++i)
    EXPECT_EQ(table.send(header(agent(0), agent(i)), {}), Outcome::ok);
  EXPECT_EQ(table.send(header(agent(0), agent(500)), {}), Outcome::full);
  EXPECT_EQ(table.send(header(agent(0), agent(500), MessageKind::reply), {}), Outcome::ok);
  MessageBatch batch;
  EXPECT_EQ(table.drain(batch, 1000, 0), 101u);
  EXPECT_EQ(table.send(header(agent(0), agent(500)), {}), Outcome::ok);
}

TEST(Mailbox, large_payloads_are_bounded_in_bytes_and_give_them_back) {
  MailboxOptions options;
  options.payload_bytes_max = 1000;
  MailboxTable table(options);
  table.resize(4);
  for (const bool owned : {false, true}) {
    if (owned) table.own();
    MessageBatch batch;
    const uint64_t idle = table.memory_bytes();
    for (uint32_t i = 0; i < 2; ++i)
      EXPECT_EQ(table.send(header(agent(0), agent(i)), bytes_of(patterned(500, i))), Outcome::ok);
    EXPECT_EQ(table.memory_bytes(), idle + 1000);
    EXPECT_EQ(table.send(header(agent(0), agent(2)), bytes_of(patterned(65, 2))), Outcome::full);
    EXPECT_EQ(table.send(header(agent(0), agent(2)), bytes_of(patterned(64, 2))), Outcome::ok);
    table.own();

    // What was taken counts until its batch lets go of it.
    ASSERT_TRUE(table.receive(agent(0), batch, 0));
    EXPECT_EQ(table.send(header(agent(0), agent(2)), bytes_of(patterned(65, 2))), Outcome::full);
    batch.clear();
    EXPECT_EQ(table.send(header(agent(0), agent(2)), bytes_of(patterned(501, 2))), Outcome::full);
    EXPECT_EQ(table.send(header(agent(0), agent(2)), bytes_of(patterned(500, 2))), Outcome::ok);
    EXPECT_EQ(table.drain(batch, 100, 0), 3u);
    batch.clear();
    EXPECT_EQ(table.send(header(agent(0), agent(2)), bytes_of(patterned(1000, 2))), Outcome::ok);
    EXPECT_EQ(table.drain(batch, 100, 0), 1u);
    batch.clear();
    expect_conserved(table);
  }
}

TEST(Mailbox, expired_messages_are_counted_and_not_returned) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  for (uint64_t deadline : {100, 50, 0, 101}) {
    MessageHeader sent = header(agent(0), agent(1));
    sent.deadline_ns = deadline;
    table.send(sent, deadline == 50 ? bytes_of(patterned(200, 1)) : bytes_of(deadline));
  }
  MessageBatch batch;
  EXPECT_EQ(table.drain(batch, 100, 100), 2u);
  EXPECT_EQ(number_in(batch.messages()[0]), 0u);
  EXPECT_EQ(batch.messages()[0].sequence, 2u);
  EXPECT_EQ(number_in(batch.messages()[1]), 101u);
  EXPECT_EQ(table.counters().expired, 2u);
  EXPECT_EQ(table.counters().handled, 2u);
  expect_conserved(table);
}

TEST(Mailbox, no_box_takes_more_than_its_quantum_in_a_turn) {
  MailboxTable table({});
  table.resize(3);
  table.own();
  for (uint64_t i = 0; i < 10; ++i) table.send(header(agent(0), agent(0)), bytes_of(i));
  for (uint64_t i = 0; i < 3; ++i) table.send(header(agent(0), agent(1)), bytes_of(i));
  table.send(header(agent(0), agent(2)), bytes_of(uint64_t(0)));
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 0, 4), 14u);
  std::string order;
  for (const Message& message : batch.messages()) order += char('0' + index_of(message.to));
  EXPECT_EQ(order, "00001112000000");
}

TEST(Mailbox, a_paused_box_is_skipped_but_fills_and_can_be_received_from) {
  MailboxTable table({});
  table.resize(3);
  table.own();
  table.send(header(agent(0), agent(1)), bytes_of(uint64_t(1)));
  table.set_paused(agent(1), true);
  EXPECT_TRUE(table.paused(agent(1)));
  table.send(header(agent(0), agent(1)), bytes_of(uint64_t(2)));
  table.send(header(agent(0), agent(2)), bytes_of(uint64_t(3)));
  MessageBatch batch;
  EXPECT_EQ(table.drain(batch, 100, 0), 1u);
  EXPECT_EQ(number_in(batch.messages()[0]), 3u);
  EXPECT_TRUE(table.receive(agent(1), batch, 0));
  EXPECT_EQ(number_in(batch.messages()[1]), 1u);
  table.set_paused(agent(1), false);
  EXPECT_EQ(table.drain(batch, 100, 0), 1u);
  EXPECT_EQ(number_in(batch.messages()[2]), 2u);
  EXPECT_EQ(table.drain(batch, 100, 0), 0u);
}

TEST(Mailbox, a_closed_box_turns_its_messages_into_dead_letters_and_refuses_more) {
  MailboxTable table({});
  table.resize(3);
  table.own();
  MessageHeader sent = header(agent(2), agent(1), MessageKind::request);
  sent.request = 77;
  const std::vector<uint8_t> large = patterned(100, 5);
  table.send(sent, bytes_of(uint64_t(9)));
  table.send(sent, bytes_of(large));
  table.close_box(agent(1), Outcome::revoked);
  EXPECT_EQ(table.queued(agent(1)), 0u);
  EXPECT_EQ(table.send(sent, {}), Outcome::revoked);
  const std::vector<DeadLetter> letters = table.dead_letters();
  ASSERT_EQ(letters.size(), 2u);
  EXPECT_EQ(letters[0].header.to, agent(1));
  EXPECT_EQ(letters[0].header.sender, agent(2));
  EXPECT_EQ(letters[0].header.request, 77u);
  EXPECT_EQ(letters[0].reason, Outcome::revoked);
  EXPECT_EQ(letters[0].payload.size(), 8u);
  EXPECT_EQ(letters[1].payload, large);
  EXPECT_EQ(table.counters().dead, 2u);
  EXPECT_EQ(table.counters().refused_other, 1u);
  expect_conserved(table);
  MessageBatch batch;
  EXPECT_EQ(table.drain(batch, 100, 0), 0u);
}

TEST(Mailbox, a_failed_message_moves_from_handled_to_dead) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  table.send(header(agent(0), agent(1)), bytes_of(uint64_t(4)));
  MessageBatch batch;
  table.drain(batch, 1, 0);
  EXPECT_EQ(table.counters().handled, 1u);
  table.dead(batch.messages()[0], Outcome::aborted);
  EXPECT_EQ(table.counters().handled, 0u);
  EXPECT_EQ(table.counters().dead, 1u);
  expect_conserved(table);
  EXPECT_EQ(table.dead_letters().at(0).reason, Outcome::aborted);
  EXPECT_EQ(code_of([&] { table.dead(batch.messages()[0], Outcome::aborted); }),
            ErrorCode::invariant);
}

TEST(Mailbox, the_newest_1024_dead_letters_are_kept_oldest_first) {
  MailboxOptions options;
  options.box_capacity_messages = 4000;
  MailboxTable table(options);
  table.resize(1);
  table.own();
  for (uint64_t i = 0; i < 3000; ++i) table.send(header(agent(0), agent(0)), bytes_of(i));
  table.close_box(agent(0), Outcome::closed);
  const std::vector<DeadLetter> letters = table.dead_letters();
  ASSERT_EQ(letters.size(), 1024u);
  for (uint64_t i = 0; i < 1024; ++i) {
    uint64_t value = 0;
    std::memcpy(&value, letters[i].payload.data(), 8);
    ASSERT_EQ(value, 3000 - 1024 + i);
  }
}

TEST(Mailbox, send_many_answers_for_each_row) {
  MailboxOptions options;
  options.box_capacity_messages = 2;
  MailboxTable table(options);
  table.resize(100);
  table.own();
  const std::vector<AgentId> to = {agent(1), agent(1), agent(1), agent(100), agent(2), id_none};
  const std::vector<uint8_t> payloads = patterned(6 * 10, 3);
  const std::vector<uint32_t> sizes = {10, 0, 1, 2, 7, 3};
  std::vector<Outcome> outcomes(6);
  table.send_many(agent(9), to, {payloads.data(), 6, 10}, sizes, outcomes);
  EXPECT_EQ(outcomes, (std::vector<Outcome>{Outcome::ok, Outcome::ok, Outcome::full,
                                            Outcome::unknown, Outcome::ok, Outcome::unknown}));
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 0), 3u);
  const std::vector<size_t> rows = {0, 1, 4};
  for (size_t i = 0; i < 3; ++i) {
    const Message& message = batch.messages()[i];
    EXPECT_EQ(message.to, to[rows[i]]);
    EXPECT_EQ(message.sender, agent(9));
    ASSERT_EQ(message.payload.size(), sizes[rows[i]]);
    EXPECT_TRUE(std::equal(message.payload.begin(), message.payload.end(),
                           payloads.begin() + ptrdiff_t(rows[i] * 10)));
  }
}

TEST(Mailbox, send_many_with_disagreeing_shapes_sends_nothing) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  const std::vector<AgentId> to(3, agent(1));
  const std::vector<uint8_t> payloads(12);
  std::vector<Outcome> outcomes(3), few(2);
  const std::vector<uint32_t> two = {1, 1}, long_ones = {1, 5, 1};
  EXPECT_EQ(code_of([&] { table.send_many(agent(0), to, {payloads.data(), 2, 4}, {}, outcomes); }),
            ErrorCode::dimension_mismatch);
  EXPECT_EQ(code_of([&] { table.send_many(agent(0), to, {payloads.data(), 3, 4}, {}, few); }),
            ErrorCode::dimension_mismatch);
  EXPECT_EQ(code_of([&] { table.send_many(agent(0), to, {payloads.data(), 3, 4}, two, outcomes); }),
            ErrorCode::dimension_mismatch);
  EXPECT_EQ(
      code_of([&] { table.send_many(agent(0), to, {payloads.data(), 3, 4}, long_ones, outcomes); }),
      ErrorCode::out_of_range);
  EXPECT_EQ(table.counters().accepted, 0u);
}

TEST(Mailbox, a_million_idle_boxes_cost_at_most_64_bytes_each) {
  MailboxTable table({});
  table.own();
  const uint64_t before = table.memory_bytes();
  for (uint32_t count = 1; count <= 1'000'000; count += 997) table.resize(count);
  table.resize(1'000'000);
  EXPECT_LE(table.memory_bytes() - before, 64'000'000u);
  EXPECT_GE(table.memory_bytes() - before, 24'000'000u);
  EXPECT_EQ(table.send(header(agent(0), agent(999'999)), {}), Outcome::ok);
  table.resize(5);
  EXPECT_EQ(table.queued(agent(999'999)), 1u);
}

}  // namespace
}  // namespace hanse
