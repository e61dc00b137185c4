// Publications, cancellations, dead letters and observation over all shards.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "mailbox/shards.hpp"
#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

constexpr uint32_t shard_count = 3, agents_per_shard = 8;
constexpr uint32_t agent_count = shard_count * agents_per_shard;
constexpr uint64_t topic = 5;

// Agent i is on shard i mod 3.
struct Population {
  Shards shards;
  std::vector<AgentId> everyone;

  explicit Population(ShardOptions options) : shards(options) {
    std::vector<uint32_t> groups;
    for (uint32_t i = 0; i < agent_count; ++i) {
      groups.push_back(i % shard_count);
      everyone.push_back(agent(i));
    }
    shards.resize(agent_count, groups);
    for (uint32_t shard = 0; shard < shard_count; ++shard) shards.migrate(shard, shard);
    shards.at_topics([&](TopicDirectory& topics) {
      for (const AgentId one : everyone) topics.subscribe(one, topic);
    });
  }
  static ShardOptions small() {
    ShardOptions options;
    options.shard_count = shard_count;
    options.ring_size_bytes = 1u << 14;
    options.mailboxes.box_capacity_messages = 64;
    options.mailboxes.trace_interval = 16;
    options.mailboxes.undelivered_count_max = 100;
    return options;
  }
  size_t publish(uint32_t shard, const Payload& payload, std::vector<Outcome>& outcomes) {
    outcomes.assign(everyone.size(), Outcome::ok);
    return shards.publish_to(shard, header(agent(shard), id_none), everyone, payload, outcomes);
  }
  Payload payload(size_t size, uint8_t seed = 1) {
    Payload loan = shards.table(0).loan(size);
    const std::vector<uint8_t> bytes = patterned(size, seed);
    if (size != 0) std::memcpy(loan.writable(), bytes.data(), size);
    return loan;
  }
  size_t turn_all(ShardHandler handler, void* context) {
    size_t count = 0;
    for (uint32_t shard = 0; shard < shard_count; ++shard)
      count += shards.turn(shard, handler, context, 1);
    return count;
  }
  void expect_conserved() {
    const MailboxCounters all = shards.counters();
    EXPECT_EQ(all.accepted, all.handled + all.expired + all.cancelled + all.dead + all.queued);
    EXPECT_LE(all.queued, all.accepted);
  }
};

void nothing(void*, Shards&, uint32_t, MessageBatch&) {}

TEST(MailboxShardsWhole, one_payload_reaches_every_shard_and_is_let_go_after_the_last) {
  for (const size_t size : {size_t(0), size_t(64), size_t(65), size_t(100'000)}) {
    Population population(Population::small());
    const uint64_t before = population.shards.memory_bytes();
    std::vector<Outcome> outcomes;
    EXPECT_EQ(population.publish(1, population.payload(size), outcomes), agent_count);
    EXPECT_LT(population.shards.memory_bytes() - before, size + 200'000);
    EXPECT_EQ(population.shards.crossed(), agent_count - agents_per_shard);
    EXPECT_EQ(population.shards.counters().queued, agent_count);
    std::vector<uint64_t> seen(agent_count);
    struct Context {
      std::vector<uint64_t>& seen;
      std::vector<uint8_t> wanted;
    } context{seen, patterned(size, 1)};
    const auto check = [](void* given, Shards&, uint32_t, MessageBatch& batch) {
      auto& at = *static_cast<Context*>(given);
      for (const Message& message : batch.messages()) {
        ++at.seen[index_of(message.to)];
        EXPECT_TRUE(std::ranges::equal(message.payload, at.wanted));
      }
      batch.clear();
    };
    while (population.turn_all(check, &context) != 0) {
    }
    EXPECT_EQ(seen, std::vector<uint64_t>(agent_count, 1));
    population.expect_conserved();
  }
}

TEST(MailboxShardsWhole, a_publication_that_nobody_takes_in_is_freed_with_the_shards) {
  Population population(Population::small());
  std::vector<Outcome> outcomes;
  for (int i = 0; i < 10; ++i) population.publish(0, population.payload(5000), outcomes);
  EXPECT_EQ(population.shards.counters().queued, 10u * agent_count);
}

TEST(MailboxShardsWhole, a_full_ring_refuses_a_publication_whole_for_its_shard) {
  ShardOptions options = Population::small();
  options.ring_size_bytes = 1u << 12;
  Population population(options);
  std::vector<Outcome> outcomes;
  size_t taken = agent_count;
  for (int i = 0; i < 40 && taken == agent_count; ++i)
    taken = population.publish(0, population.payload(80), outcomes);
  EXPECT_EQ(taken, agents_per_shard);
  for (uint32_t i = 0; i < agent_count; ++i)
    EXPECT_EQ(outcomes[i], i % shard_count == 0 ? Outcome::ok : Outcome::full);
  population.expect_conserved();
}

TEST(MailboxShardsWhole, an_object_of_one_thread_is_published_to_no_other) {
  Population population(Population::small());
  static int released = 0;
  std::vector<Outcome> outcomes;
  {
    const Payload object = Payload::adopt(&released, {}, [](void*) { ++released; });
    EXPECT_EQ(code_of([&] { population.publish(0, object, outcomes); }), ErrorCode::wrong_thread);
  }
  EXPECT_EQ(released, 1);
  EXPECT_EQ(population.shards.counters().accepted, 0u);
}

TEST(MailboxShardsWhole, a_cancellation_follows_its_request_through_the_ring) {
  Population population(Population::small());
  MessageHeader asked = header(agent(0), agent(1), MessageKind::request);
  for (uint64_t request = 1; request <= 3; ++request) {
    asked.request = request;
    EXPECT_EQ(population.shards.send(0, asked, bytes_of(request)), Outcome::ok);
  }
  population.shards.cancel(0, agent(1), 2);
  population.shards.cancel(0, agent(1), 99);
  population.shards.cancel(0, make_id(1u << 20, 1), 1);
  EXPECT_EQ(population.shards.turn(1, &nothing, nullptr, 0), 2u);
  EXPECT_EQ(population.shards.counters().cancelled, 1u);
  population.expect_conserved();
}

TEST(MailboxShardsWhole, letters_are_numbered_together_and_go_to_where_their_receiver_is_now) {
  Population population(Population::small());
  for (uint32_t shard = 0; shard < shard_count; ++shard)
    population.shards.table(shard).bury(header(agent(0), agent(shard)), Outcome::undeliverable,
                                        bytes_of(uint64_t(shard)));
  const std::vector<DeadLetter> letters = population.shards.dead_letters();
  ASSERT_EQ(letters.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(letters[i].number, i);
  EXPECT_EQ(population.shards.counters().dead, 3u);
  population.shards.migrate(2, 1);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(population.shards.resend(i), Outcome::ok);
  EXPECT_EQ(population.shards.resend(0), Outcome::unknown);
  EXPECT_EQ(population.shards.turn(1, &nothing, nullptr, 0), 2u);
  EXPECT_EQ(population.shards.turn(0, &nothing, nullptr, 0), 1u);
  EXPECT_EQ(population.shards.counters().resent, 3u);
  EXPECT_TRUE(population.shards.dead_letters().empty());
  population.expect_conserved();
}

// What each shard's handler does: publishes, sends, and cancels what it never asked.
struct Crowd {
  Population& population;
  std::atomic<uint64_t> published{0};
  uint64_t published_max = 3000;

  static void handle(void* context, Shards& shards, uint32_t shard, MessageBatch& batch) {
    auto& crowd = *static_cast<Crowd*>(context);
    std::vector<Outcome> outcomes;
    if (crowd.published.fetch_add(1) < crowd.published_max)
      crowd.population.publish(shard, crowd.population.payload(shard * 50), outcomes);
    for (const Message& message : batch.messages())
      if (message.kind == MessageKind::request)
        shards.cancel(shard, message.sender, message.request);
    batch.clear();
  }
};

// All shards run; another thread reads everything, sends letters again, and moves groups.
TEST(MailboxShardsThreads, everyone_publishes_while_groups_move_and_all_is_read) {
  Population population(Population::small());
  Crowd crowd{population};
  std::atomic<uint32_t> begun{0};
  std::vector<std::thread> threads;
  for (uint32_t shard = 0; shard < shard_count; ++shard)
    threads.emplace_back([&, shard] {
      population.shards.turn(shard, &Crowd::handle, &crowd, 1);
      begun.fetch_add(1);
      population.shards.run(shard, &Crowd::handle, &crowd);
    });
  // A shard that nobody runs yet would be the main thread's once that has looked into it.
  while (begun.load() != shard_count) std::this_thread::yield();
  std::vector<Undelivered> undelivered;
  for (uint64_t round = 0; crowd.published < crowd.published_max; ++round) {
    MessageHeader sent = header(agent(0), agent(uint32_t(round % agent_count)),
                                round % 3 == 0 ? MessageKind::request : MessageKind::data);
    sent.request = round + 1;
    population.shards.send_foreign(sent, bytes_of(round));
    if (round % 7 == 0)
      for (const DeadLetter& letter : population.shards.dead_letters())
        if (letter.number % 5 == 0) population.shards.resend(letter.number);
    if (round % 50 == 0)
      population.shards.migrate(uint32_t(round / 50 % shard_count),
                                uint32_t(round / 20 % shard_count));
    EXPECT_LE(population.shards.traces().size(), 1024u);
    EXPECT_GE(population.shards.ages().sum_ns, 0u);
    population.shards.at_topics([&](TopicDirectory& topics) {
      topics.unsubscribe(agent(uint32_t(round % agent_count)), topic);
      topics.subscribe(agent(uint32_t(round % agent_count)), topic);
    });
    for (uint32_t shard = 0; shard < shard_count; ++shard)
      population.shards.table(shard).take_undelivered(undelivered);
    population.expect_conserved();
  }
  population.shards.stop();
  for (std::thread& thread : threads) thread.join();
  while (population.turn_all(&nothing, nullptr) != 0) {
  }
  population.shards.migrate(0, 0);  // compares what is counted with what is there
  EXPECT_EQ(population.shards.counters().queued, 0u);
  population.expect_conserved();
}

}  // namespace
}  // namespace hanse
