#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

TEST(MailboxThreads, before_there_is_an_owner_any_thread_may_send) {
  MailboxTable table({});
  table.resize(2);
  EXPECT_TRUE(table.owned_here());
  table.send(header(agent(0), agent(1)), bytes_of(uint64_t(0)));
  std::thread([&] {
    EXPECT_TRUE(table.owned_here());
    EXPECT_EQ(table.send(header(agent(0), agent(1)), bytes_of(uint64_t(1))), Outcome::ok);
  }).join();
  EXPECT_EQ(table.counters().queued, 2u);
  table.own();
  EXPECT_EQ(table.queued(agent(1)), 2u);
  table.send(header(agent(0), agent(1)), bytes_of(uint64_t(2)));
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 10, 0), 3u);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(number_in(batch.messages()[i]), i);
}

TEST(MailboxThreads, another_thread_cannot_drain_what_is_owned) {
  MailboxTable table({});
  table.resize(1);
  table.own();
  std::thread([&] {
    MessageBatch batch;
    EXPECT_FALSE(table.owned_here());
    EXPECT_EQ(code_of([&] { table.own(); }), ErrorCode::wrong_thread);
    EXPECT_EQ(code_of([&] { table.drain(batch, 1, 0); }), ErrorCode::wrong_thread);
    EXPECT_EQ(code_of([&] { table.receive(agent(0), batch, 0); }), ErrorCode::wrong_thread);
    EXPECT_EQ(code_of([&] { table.set_paused(agent(0), true); }), ErrorCode::wrong_thread);
    EXPECT_EQ(code_of([&] { table.queued(agent(0)); }), ErrorCode::wrong_thread);
  }).join();
}

TEST(MailboxThreads, a_send_does_not_overtake_what_another_thread_sent_before) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  MessageBatch batch;
  for (uint64_t i = 0; i < 50; ++i) {
    std::thread([&] { table.send(header(agent(0), agent(1)), bytes_of(2 * i)); }).join();
    table.send(header(agent(0), agent(1)), bytes_of(2 * i + 1));
  }
  ASSERT_EQ(table.drain(batch, 1000, 0), 100u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(number_in(batch.messages()[i]), i);
}

TEST(MailboxThreads, a_full_ring_refuses_and_a_full_box_behind_it_makes_dead_letters) {
  MailboxOptions options;
  options.ring_count_max = 8;
  options.box_capacity_messages = 3;
  MailboxTable table(options);
  table.resize(2);
  for (uint64_t i = 0; i < 8; ++i)
    EXPECT_EQ(table.send(header(agent(0), agent(1)), bytes_of(patterned(i < 4 ? 8 : 80, i))),
              Outcome::ok);
  EXPECT_EQ(table.send(header(agent(0), agent(1)), bytes_of(patterned(80, 9))), Outcome::full);
  EXPECT_EQ(table.counters().queued, 8u);
  MessageBatch batch;
  EXPECT_EQ(table.drain(batch, 100, 0), 3u);
  const MailboxCounters counters = table.counters();
  EXPECT_EQ(counters.accepted, 8u);
  EXPECT_EQ(counters.handled, 3u);
  EXPECT_EQ(counters.dead, 5u);
  EXPECT_EQ(counters.refused_full, 1u);
  ASSERT_EQ(table.dead_letters().size(), 5u);
  EXPECT_EQ(table.dead_letters()[0].reason, Outcome::full);
  EXPECT_EQ(table.dead_letters()[4].payload, patterned(80, 7));
}

TEST(MailboxThreads, messages_left_in_ring_and_boxes_are_freed_with_the_table) {
  MailboxTable table({});
  table.resize(2);
  table.send(header(agent(0), agent(1)), bytes_of(patterned(1000, 1)));
  table.own();
  table.send(header(agent(0), agent(1)), bytes_of(patterned(1000, 2)));
  std::thread([&] { table.send(header(agent(0), agent(1)), bytes_of(patterned(1000, 3))); }).join();
  EXPECT_EQ(table.counters().queued, 3u);
}

TEST(MailboxThreads, a_box_closed_by_another_thread_is_closed_before_the_next_drain) {
  MailboxTable table({});
  table.resize(3);
  table.own();
  table.send(header(agent(0), agent(1)), bytes_of(uint64_t(1)));
  std::thread([&] {
    table.send(header(agent(0), agent(1)), bytes_of(uint64_t(2)));
    table.close_box(agent(1), Outcome::revoked);
    table.resize(4);
    EXPECT_EQ(table.send(header(agent(0), agent(3)), bytes_of(uint64_t(3))), Outcome::ok);
  }).join();
  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 100, 0), 1u);
  EXPECT_EQ(batch.messages()[0].to, agent(3));
  EXPECT_EQ(table.counters().dead, 2u);
  EXPECT_EQ(table.send(header(agent(0), agent(1)), {}), Outcome::revoked);
}

// Four senders, each numbering what it got accepted; the owner sends, drains and grows meanwhile.
TEST(MailboxThreads, nothing_is_lost_or_reordered_while_four_threads_send) {
  constexpr uint32_t thread_count = 4, agent_count = 16;
  constexpr uint64_t message_count = 5000;
  MailboxOptions options;
  options.ring_count_max = 256;
  options.box_capacity_messages = 1u << 20;
  MailboxTable table(options);
  table.resize(agent_count);
  table.own();

  std::atomic<uint32_t> running{thread_count};
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < thread_count; ++thread)
    threads.emplace_back([&, thread] {
      Random random(thread + 1);
      for (uint64_t i = 0; i < message_count; ++i) {
        std::vector<uint8_t> payload(random.chance(100) ? 100 : 16);
        std::memcpy(payload.data(), &i, sizeof i);
        const auto to = agent(uint32_t(random.below(agent_count)));
        while (table.send(header(agent(thread), to), bytes_of(payload)) != Outcome::ok)
          std::this_thread::yield();
        if (i % 500 == 0) {
          const MailboxCounters c = table.counters();
          EXPECT_EQ(c.accepted, c.handled + c.expired + c.dead + c.queued);
          EXPECT_LE(c.queued, c.accepted);
        }
      }
      running.fetch_sub(1);
    });

  std::map<std::pair<AgentId, AgentId>, uint64_t> last;  // (sender, receiver) -> number + 1
  std::vector<uint64_t> next_sequence(agent_count);
  uint64_t received = 0, own_count = 0;
  MessageBatch batch;
  for (bool more = true; more;) {
    more = running.load() != 0;
    const auto to = agent(uint32_t(own_count % agent_count));
    ASSERT_EQ(table.send(header(agent(thread_count), to), bytes_of(own_count)), Outcome::ok);
    ++own_count;
    batch.clear();
    received += table.drain(batch, more ? 300 : SIZE_MAX, 0);
    for (const Message& message : batch.messages()) {
      uint64_t& floor = last[{message.sender, message.to}];
      ASSERT_LE(floor, number_in(message));
      floor = number_in(message) + 1;
      ASSERT_EQ(message.sequence, next_sequence[index_of(message.to)]++);
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(received, thread_count * message_count + own_count);
  const MailboxCounters counters = table.counters();
  EXPECT_EQ(counters.accepted, received);
  EXPECT_EQ(counters.handled, received);
  EXPECT_EQ(counters.queued, 0u);
}

}  // namespace
}  // namespace hanse
