#include "mailbox/shards.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

ShardOptions shards_of(uint32_t count) {
  ShardOptions options;
  options.shard_count = count;
  options.ring_size_bytes = 1u << 16;
  options.mailboxes.box_capacity_messages = 1u << 20;
  return options;
}

void expect_shards_conserved(const Shards& shards) {
  const MailboxCounters all = shards.counters();
  ASSERT_EQ(all.accepted, all.handled + all.expired + all.cancelled + all.dead + all.queued);
  ASSERT_LE(all.queued, all.accepted);
}

// What a message is, without where and when it was handled.
uint64_t digest_of(const Message& message) {
  uint64_t digest = mix64(message.to) ^ mix64(message.sender + 1);
  for (const uint8_t byte : message.payload) digest = mix64(digest ^ byte);
  return digest;
}

// Tokens of 16 bytes: a number and the hops that are left. Each goes to an agent that follows from
// what it is, so that the same tokens visit the same agents on any number of shards.
struct Storm {
  static constexpr uint32_t agents = 2000;
  std::atomic<uint64_t> handled{0}, digest{0};
  uint64_t handled_max = 0;

  static void handle(void* context, Shards& shards, uint32_t shard, MessageBatch& batch) {
    auto& storm = *static_cast<Storm*>(context);
    uint64_t sum = 0;
    for (const Message& message : batch.messages()) {
      sum += digest_of(message);
      uint64_t token[2];
      std::memcpy(token, message.payload.data(), sizeof token);
      if (token[1]-- == 0) continue;
      const AgentId to = agent(uint32_t(mix64(token[0] * 31 + token[1]) % agents));
      while (shards.send(shard, header(message.to, to),
                         {reinterpret_cast<const uint8_t*>(token), sizeof token}) != Outcome::ok)
        std::this_thread::yield();
    }
    storm.digest.fetch_add(sum);
    if (storm.handled.fetch_add(batch.count()) + batch.count() == storm.handled_max) shards.stop();
  }
};

uint64_t storm_digest(uint32_t shard_count, uint64_t tokens, uint64_t hops) {
  Shards shards(shards_of(shard_count));
  shards.resize(Storm::agents);
  for (uint32_t i = 0; i < Storm::agents; ++i) shards.set_group(agent(i), i % 16);
  for (uint32_t group = 0; group < 16; ++group) shards.migrate(group, group % shard_count);
  Storm storm;
  storm.handled_max = tokens * (hops + 1);
  std::vector<std::thread> threads;
  for (uint32_t shard = 0; shard < shard_count; ++shard)
    threads.emplace_back([&, shard] {
      for (uint64_t i = shard; i < tokens; i += shard_count) {
        const uint64_t token[2] = {i, hops};
        EXPECT_EQ(shards.send(shard, header(agent(0), agent(uint32_t(i % Storm::agents))),
                              {reinterpret_cast<const uint8_t*>(token), sizeof token}),
                  Outcome::ok);
      }
      shards.run(shard, &Storm::handle, &storm);
    });
  for (std::thread& thread : threads) thread.join();
  const MailboxCounters counters = shards.counters();
  EXPECT_EQ(counters.handled, storm.handled_max);
  EXPECT_EQ(counters.queued, 0u);
  expect_shards_conserved(shards);
  EXPECT_EQ(shards.crossed() > tokens, shard_count > 1);
  return storm.digest;
}

TEST(MailboxShardsThreads, one_and_two_shards_handle_the_same_messages) {
  const uint64_t alone = storm_digest(1, 200, 40);
  EXPECT_EQ(storm_digest(2, 200, 40), alone);
  EXPECT_EQ(storm_digest(3, 200, 40), alone);
}

// Every shard's first agent numbers what it sends to each agent; receivers check the numbers while
// groups move to and fro.
struct Order {
  static constexpr uint32_t shard_count = 3, agents = 60, groups = 6;
  static constexpr uint64_t message_count = 20'000;
  std::mutex mutex;
  std::map<std::pair<AgentId, AgentId>, uint64_t> floors;  // (sender, receiver) -> number + 1
  std::map<AgentId, uint64_t> sequences;
  std::atomic<uint64_t> handled{0};

  static void handle(void* context, Shards& shards, uint32_t, MessageBatch& batch) {
    auto& order = *static_cast<Order*>(context);
    const std::lock_guard lock(order.mutex);
    for (const Message& message : batch.messages()) {
      uint64_t& floor = order.floors[{message.sender, message.to}];
      EXPECT_EQ(number_in(message), floor);
      floor = number_in(message) + 1;
      EXPECT_EQ(message.sequence, order.sequences[message.to]++);
    }
    if (order.handled.fetch_add(batch.count()) + batch.count() ==
        Order::shard_count * Order::message_count)
      shards.stop();
  }
};

// Senders live on no shard: their messages go out by the shard whose thread they run on.
struct Sender {
  Order order;
  std::map<AgentId, uint64_t> next[Order::shard_count];
  uint64_t sent[Order::shard_count] = {};

  static void handle(void* context, Shards& shards, uint32_t shard, MessageBatch& batch) {
    auto& sender = *static_cast<Sender*>(context);
    Order::handle(&sender.order, shards, shard, batch);
    // Several for each, so that every shard has messages until it has sent all of its own.
    sender.send_some(shards, shard, 8 * batch.count());
  }
  void send_some(Shards& shards, uint32_t shard, size_t count) {
    for (size_t i = 0; i < count && sent[shard] < Order::message_count; ++i) {
      const AgentId to = agent(uint32_t(mix64(shard * 1000003 + sent[shard]) % Order::agents));
      std::vector<uint8_t> payload(sent[shard] % 97 == 0 ? 100 : 8);
      std::memcpy(payload.data(), &next[shard][to], 8);
      if (shards.send(shard, header(agent(1000 + shard), to), bytes_of(payload)) != Outcome::ok)
        return;
      ++next[shard][to];
      ++sent[shard];
    }
  }
};

TEST(MailboxShardsThreads, order_and_sequence_hold_while_groups_move) {
  for (const MailboxForm form : {MailboxForm::linked, MailboxForm::automatic}) {
    ShardOptions options = shards_of(Order::shard_count);
    options.mailboxes.form = form;
    options.turn_messages = 64;
    Shards shards(options);
    shards.resize(Order::agents);
    for (uint32_t i = 0; i < Order::agents; ++i) shards.set_group(agent(i), i % Order::groups);
    for (uint32_t group = 0; group < Order::groups; ++group)
      shards.migrate(group, group % Order::shard_count);
    Sender sender;
    std::vector<std::thread> threads;
    for (uint32_t shard = 0; shard < Order::shard_count; ++shard)
      threads.emplace_back([&, shard] {
        sender.send_some(shards, shard, 2000);
        shards.run(shard, &Sender::handle, &sender);
        EXPECT_EQ(sender.sent[shard], Order::message_count);
      });
    uint32_t wanted = 0;
    while (sender.order.handled < Order::shard_count * Order::message_count) {
      // Every shard keeps one group, so that it has turns.
      try {
        shards.migrate(Order::shard_count + wanted % (Order::groups - Order::shard_count),
                       (wanted / 2) % Order::shard_count);
        ++wanted;
      } catch (const Error& error) {
        // One of them sends its first messages, and is not in `run` yet.
        EXPECT_EQ(error.code(), ErrorCode::wrong_thread);
      }
      expect_shards_conserved(shards);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (std::thread& thread : threads) thread.join();
    const MailboxCounters counters = shards.counters();
    EXPECT_EQ(counters.handled, Order::shard_count * Order::message_count);
    EXPECT_EQ(counters.dead, 0u);
    EXPECT_EQ(counters.queued, 0u);
    EXPECT_GT(shards.migrations(), 0u);
    MailboxCounters sum;
    for (uint32_t shard = 0; shard < Order::shard_count; ++shard) {
      const MailboxCounters part = shards.counters(shard);
      sum.accepted += part.accepted, sum.handled += part.handled;
    }
    EXPECT_EQ(sum.accepted, counters.accepted);
    EXPECT_EQ(sum.handled, counters.handled);
  }
}

void ignore(void*, Shards&, uint32_t, MessageBatch&) {}

TEST(MailboxShards, what_finds_no_room_on_the_other_shard_is_a_dead_letter_there) {
  ShardOptions options = shards_of(2);
  options.mailboxes.box_capacity_messages = 3;
  Shards shards(options);
  shards.resize(2);
  shards.set_group(agent(1), 1);
  shards.migrate(1, 1);
  for (uint64_t i = 0; i < 5; ++i)
    EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(i)), Outcome::ok);
  shards.turn(0, &ignore, nullptr, 0);
  EXPECT_EQ(shards.counters().queued, 5u);
  EXPECT_EQ(shards.turn(1, &ignore, nullptr, 0), 3u);
  const MailboxCounters counters = shards.counters();
  EXPECT_EQ(counters.accepted, 5u);
  EXPECT_EQ(counters.handled, 3u);
  EXPECT_EQ(counters.dead, 2u);
  EXPECT_EQ(counters.queued, 0u);
  EXPECT_EQ(shards.counters(0).accepted, 5u);
  EXPECT_EQ(shards.counters(1).dead, 2u);
  EXPECT_EQ(shards.table(1).dead_letters().at(0).reason, Outcome::full);
}

TEST(MailboxShards, a_full_ring_refuses_and_loses_nothing) {
  ShardOptions options = shards_of(2);
  options.ring_size_bytes = 1u << 12;  // 32 cells
  Shards shards(options);
  shards.resize(2);
  shards.set_group(agent(1), 1);
  shards.migrate(1, 1);
  const std::vector<uint8_t> large = patterned(3000, 1);
  uint64_t accepted = 0;
  for (uint64_t i = 0; i < 50; ++i)
    accepted += shards.send(0, header(agent(0), agent(1)), bytes_of(large)) == Outcome::ok;
  EXPECT_EQ(accepted, 32u);
  EXPECT_EQ(shards.counters().refused_full, 18u);
  EXPECT_EQ(shards.turn(1, &ignore, nullptr, 0), 32u);
  EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(large)), Outcome::ok);
  EXPECT_EQ(shards.counters().queued, 1u);  // It is freed with the ring that it stays in.
}

TEST(MailboxShards, send_many_answers_for_rows_of_both_shards) {
  Shards shards(shards_of(2));
  shards.resize(4);
  for (uint32_t i = 2; i < 4; ++i) shards.set_group(agent(i), 1);
  shards.migrate(1, 1);
  const std::vector<AgentId> to = {agent(0), agent(2), agent(9), agent(3), agent(1), agent(2)};
  const std::vector<uint8_t> payloads = patterned(6 * 8, 3);
  std::vector<Outcome> outcomes(6, Outcome::ok);
  outcomes[5] = Outcome::denied;
  MessageHeader sent;
  sent.sender = agent(1);
  shards.send_many(0, sent, to, {payloads.data(), 6, 8}, {}, outcomes);
  EXPECT_EQ(outcomes, (std::vector<Outcome>{Outcome::ok, Outcome::ok, Outcome::unknown, Outcome::ok,
                                            Outcome::ok, Outcome::denied}));
  EXPECT_EQ(shards.turn(0, &ignore, nullptr, 0), 2u);
  EXPECT_EQ(shards.turn(1, &ignore, nullptr, 0), 2u);
  EXPECT_EQ(shards.crossed(), 2u);
  std::vector<Outcome> few(5, Outcome::ok);
  EXPECT_EQ(code_of([&] { shards.send_many(0, sent, to, {payloads.data(), 6, 8}, {}, few); }),
            ErrorCode::dimension_mismatch);
}

TEST(MailboxShards, wrong_shards_threads_and_nested_turns_are_refused) {
  EXPECT_EQ(code_of([] { Shards shards(shards_of(0)); }), ErrorCode::out_of_range);
  EXPECT_EQ(code_of([] { Shards shards(shards_of(65)); }), ErrorCode::out_of_range);
  Shards shards(shards_of(2));
  shards.resize(2);
  EXPECT_EQ(code_of([&] { shards.send(2, {}, {}); }), ErrorCode::out_of_range);
  EXPECT_EQ(code_of([&] { shards.migrate(0, 2); }), ErrorCode::out_of_range);
  EXPECT_EQ(code_of([&] { shards.set_group(agent(2), 0); }), ErrorCode::unknown_agent);
  EXPECT_EQ(code_of([&] { shards.shard_of(agent(2)); }), ErrorCode::unknown_agent);
  EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(uint64_t(1))), Outcome::ok);
  std::thread([&] {
    EXPECT_EQ(code_of([&] { shards.turn(0, &ignore, nullptr, 0); }), ErrorCode::wrong_thread);
  }).join();
  const auto nested = [](void*, Shards& inner, uint32_t, MessageBatch&) {
    inner.turn(0, &ignore, nullptr, 0);
  };
  EXPECT_EQ(code_of([&] { shards.turn(0, nested, nullptr, 0); }), ErrorCode::illegal_transition);
  EXPECT_EQ(shards.turn(0, &ignore, nullptr, 0), 0u);
}

// What an agent has goes along: its handler, its bounds, what waits for it, and its numbers.
TEST(MailboxShards, a_group_moves_with_handlers_bounds_and_large_payloads) {
  ShardOptions options = shards_of(2);
  options.mailboxes.digest = true;
  Shards shards(options);
  shards.resize(2, std::vector<uint32_t>{0, 7});
  std::vector<uint64_t> sequences;
  const auto note = [](void* context, MailboxTable&, const Message& message) {
    static_cast<std::vector<uint64_t>*>(context)->push_back(message.sequence);
  };
  shards.table(0).own();
  shards.table(0).set_native(agent(1), note, &sequences);
  shards.table(0).set_box(agent(1), {BoxPolicy::drop_newest, 2});
  const std::vector<uint8_t> large = patterned(3000, 1);
  EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(large)), Outcome::ok);
  EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(uint64_t(1))), Outcome::ok);
  shards.migrate(7, 1);
  EXPECT_EQ(shards.shard_of(agent(1)), 1u);
  EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(uint64_t(2))), Outcome::ok);
  EXPECT_EQ(shards.turn(1, nullptr, nullptr, 0), 2u);
  EXPECT_EQ(sequences, (std::vector<uint64_t>{0, 1}));
  EXPECT_EQ(shards.counters().dead, 1u);  // The third found the box full, on the other shard.
  shards.migrate(7, 0);
  EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(uint64_t(3))), Outcome::ok);
  EXPECT_EQ(shards.turn(0, nullptr, nullptr, 0), 1u);
  EXPECT_EQ(sequences.back(), 2u);
  EXPECT_EQ(shards.migrations(), 2u);
  expect_shards_conserved(shards);
  EXPECT_EQ(shards.counters().queued, 0u);
}

// By receiver, what it was sent and by whom.
using SeenRows = std::map<AgentId, std::vector<std::vector<uint8_t>>>;

void keep_rows(void* context, Shards&, uint32_t, MessageBatch& batch) {
  for (const Message& message : batch.messages()) {
    auto& rows = (*static_cast<SeenRows*>(context))[message.to];
    EXPECT_EQ(message.sequence, rows.size());
    rows.emplace_back(message.payload.begin(), message.payload.end());
    rows.back().push_back(uint8_t(index_of(message.sender)));
  }
}

TEST(MailboxShards, rows_that_cross_in_bulk_enter_the_log_and_stay_in_order) {
  ShardOptions options = shards_of(2);
  options.ring_size_bytes = 1u << 20;
  options.mailboxes.form = MailboxForm::log;
  Shards shards(options);
  shards.resize(40, std::vector<uint32_t>(40, 1));
  shards.migrate(1, 1);
  SeenRows seen_rows;
  std::vector<AgentId> to;
  for (uint32_t i = 0; i < 5000; ++i) to.push_back(agent(uint32_t(mix64(i) % 40)));
  const std::vector<uint8_t> payloads = patterned(to.size() * 16, 3);
  for (uint32_t sender = 0; sender < 2; ++sender) {
    MessageHeader sent;
    sent.sender = agent(sender);
    std::vector<Outcome> outcomes(to.size(), Outcome::ok);
    shards.send_many(0, sent, to, {payloads.data(), to.size(), 16}, {}, outcomes);
    EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), Outcome::ok), ptrdiff_t(to.size()));
    while (shards.turn(1, &keep_rows, &seen_rows, 0) != 0) {
    }
  }
  EXPECT_GT(shards.counters().epochs, 0u);
  std::map<AgentId, size_t> at;
  for (uint8_t sender = 0; sender < 2; ++sender)
    for (size_t i = 0; i < to.size(); ++i) {
      std::vector<uint8_t> expected(payloads.begin() + ptrdiff_t(i * 16),
                                    payloads.begin() + ptrdiff_t(i * 16 + 16));
      expected.push_back(sender);
      ASSERT_EQ(seen_rows[to[i]].at(at[to[i]]++), expected);
    }
  expect_shards_conserved(shards);
}

// The receiver sleeps; what it is sent wakes it, and a batch wakes it once.
TEST(MailboxShardsThreads, a_sleeping_shard_is_woken_by_a_batch_and_by_stop) {
  ShardOptions options = shards_of(2);
  options.spin_count = 0;
  Shards shards(options);
  shards.resize(2);
  shards.set_group(agent(1), 1);
  shards.migrate(1, 1);
  std::atomic<uint64_t> handled{0};
  const auto count = [](void* context, Shards&, uint32_t, MessageBatch& batch) {
    static_cast<std::atomic<uint64_t>*>(context)->fetch_add(batch.count());
  };
  std::thread receiver([&] { shards.run(1, count, &handled); });
  for (uint64_t round = 1; round <= 20; ++round) {
    for (uint64_t i = 0; i < 100; ++i)
      EXPECT_EQ(shards.send(0, header(agent(0), agent(1)), bytes_of(i)), Outcome::ok);
    shards.turn(0, &ignore, nullptr, 0);
    while (handled < round * 100) std::this_thread::yield();
  }
  // Once a round where it sleeps until the turn; it may also sleep between two parts of a batch,
  // which the ring shows as they fill a line.
  EXPECT_LE(shards.wakes(), 20u * 100 / 4);
  EXPECT_EQ(code_of([&] { shards.set_group(agent(1), 0); }), ErrorCode::illegal_transition);
  // From a thread of no shard: the table's own ring, then a call.
  EXPECT_EQ(shards.table(1).send(header(agent(0), agent(1)), bytes_of(uint64_t(7))), Outcome::ok);
  shards.wake(1);
  while (handled < 2001) std::this_thread::yield();
  shards.stop();
  receiver.join();
}

}  // namespace
}  // namespace hanse
