#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
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

constexpr uint32_t everything_agents = 32, everything_rounds = 400;

void set_up_everything(MailboxTable& table, uint64_t& native_count) {
  table.resize(everything_agents);
  table.own();
  for (uint32_t i = 0; i < everything_agents; ++i) {
    table.set_box(agent(i), {BoxPolicy(i % 5), i % 3 == 0 ? 8u : 0u});
    table.set_group(agent(i), i % 4);
    table.subscribe(agent(i), i % 2);
    if (i % 4 == 1)
      table.set_native(
          agent(i),
          [](void* count, MailboxTable&, const Message&) { ++*static_cast<uint64_t*>(count); },
          &native_count);
  }
}

// One of the seven: sends to boxes of all policies in all lanes, by copy and by loan, closes a box,
// buries letters and sends them again.
void send_everything(MailboxTable& table, uint32_t thread, const std::atomic<bool>& stop) {
  Random random(thread + 1);
  for (uint32_t round = 0; round < everything_rounds || !stop.load(); ++round) {
    MessageHeader sent = header(agent(thread), agent(uint32_t(random.below(everything_agents - 1))),
                                MessageKind(random.below(6)));
    sent.lane = uint8_t(random.below(lane_count));
    sent.key = random.below(5);
    sent.deadline_ns = random.below(3);
    sent.request = random.below(50);
    const size_t size = random.chance(200) ? 500 : random.below(65);
    if (random.chance(300)) {
      Payload loan = table.loan(size);
      if (loan) table.send_payload(sent, std::move(loan));
    } else {
      table.send(sent, bytes_of(patterned(size, round)));
    }
    if (random.chance(20)) table.bury(sent, Outcome::undeliverable, {});
    if (random.chance(20))
      for (const DeadLetter& letter : table.dead_letters())
        if (random.chance(10)) table.resend(letter.number);
    if (round == everything_rounds / 2 && thread == 0)
      table.close_box(agent(everything_agents - 1), Outcome::revoked);
    const MailboxCounters c = table.counters();
    EXPECT_EQ(c.accepted, c.handled + c.expired + c.cancelled + c.dead + c.queued);
    EXPECT_LE(c.queued, c.accepted);
  }
}

// The owner's part of one turn: takes, checks the order, fails some, cancels and publishes.
void take_everything(MailboxTable& table, Random& random, MessageBatch& batch,
                     std::map<std::pair<AgentId, uint8_t>, uint64_t>& next_sequence,
                     uint64_t& failed) {
  for (const Message& message : batch.messages()) {
    uint64_t& floor = next_sequence[{message.to, message.lane}];
    ASSERT_GE(message.sequence, floor);
    floor = message.sequence + 1;
  }
  if (batch.count() != 0 && random.chance(100)) {
    table.dead(batch.messages()[0], Outcome::invalid);
    ++failed;
  }
  table.run_native(random.below(100), 1);
  table.cancel(agent(uint32_t(random.below(everything_agents))), random.below(50));
  table.publish(random.below(3), header(agent(0), id_none), bytes_of(patterned(200, 1)));
  std::vector<AgentId> credited;
  std::vector<Undelivered> undelivered;
  table.take_credited(credited);
  table.take_undelivered(undelivered);
}

// Everything at once. HANSE_LONG_SECONDS makes it last.
TEST(MailboxThreads, eight_threads_use_every_feature_and_every_message_ends_once) {
  const char* wanted = std::getenv("HANSE_LONG_SECONDS");
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(wanted ? atoi(wanted) : 0);
  MailboxOptions options;
  options.ring_count_max = 512;
  options.box_capacity_messages = 64;
  options.payload_bytes_max = 1u << 20;
  options.digest = true;
  options.undelivered_count_max = 100;
  MailboxTable table(options);
  uint64_t native_count = 0;
  set_up_everything(table, native_count);

  std::atomic<uint32_t> running{7};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < 7; ++thread)
    threads.emplace_back([&, thread] {
      send_everything(table, thread, stop);
      running.fetch_sub(1);
    });

  Random random(99);
  MessageBatch batch;
  std::map<std::pair<AgentId, uint8_t>, uint64_t> next_sequence;
  uint64_t drained = 0, failed = 0;
  while (running.load() != 0) {
    if (std::chrono::steady_clock::now() >= end) stop.store(true);
    batch.clear();
    drained += table.drain(batch, 1 + random.below(300), 1);
    take_everything(table, random, batch, next_sequence, failed);
  }
  for (std::thread& thread : threads) thread.join();
  batch.clear();
  drained += table.drain(batch, SIZE_MAX, 1);
  table.run_native(SIZE_MAX, 1);
  batch.clear();
  const MailboxCounters counters = table.counters();
  EXPECT_EQ(counters.queued, 0u);
  EXPECT_EQ(counters.handled, drained + native_count - failed);
  EXPECT_EQ(counters.accepted,
            counters.handled + counters.expired + counters.cancelled + counters.dead);
  EXPECT_EQ(table.digest().count, drained + native_count);
}

}  // namespace
}  // namespace hanse
