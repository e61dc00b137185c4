#include <gtest/gtest.h>

#include <map>
#include <set>

#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

MessageHeader from(AgentId sender) { return header(sender, id_none); }

TEST(MailboxTopics, a_publication_reaches_each_subscriber_once_and_shares_one_payload) {
  MailboxTable table({});
  table.resize(100);
  table.own();
  for (uint32_t i = 1; i < 50; ++i) EXPECT_TRUE(table.subscribe(agent(i), 7));
  EXPECT_FALSE(table.subscribe(agent(1), 7));
  EXPECT_TRUE(table.subscribe_prefix(agent(1), 0, 32));
  EXPECT_TRUE(table.subscribe_prefix(agent(60), 0, 60));
  const uint64_t before = table.memory_bytes();
  const std::vector<uint8_t> payload = patterned(5000, 1);
  EXPECT_EQ(table.publish(7, from(agent(0)), bytes_of(payload)), 50u);
  EXPECT_LT(table.memory_bytes(), before + 50'000 + 5000);

  MessageBatch batch;
  ASSERT_EQ(table.drain(batch, 1000, 0), 50u);
  std::set<AgentId> reached;
  for (const Message& message : batch.messages()) {
    EXPECT_TRUE(reached.insert(message.to).second);
    EXPECT_EQ(message.buffer, batch.messages()[0].buffer);
    EXPECT_EQ(message.sender, agent(0));
    EXPECT_TRUE(std::equal(payload.begin(), payload.end(), message.payload.begin()));
  }
  EXPECT_EQ(table.counters().published, 1u);
  EXPECT_EQ(table.publish(8, from(agent(0)), {}), 2u);
  EXPECT_EQ(table.publish(UINT64_MAX, from(agent(0)), {}), 0u);
  expect_conserved(table);
}

TEST(MailboxTopics, rows_that_are_refused_beforehand_get_nothing) {
  MailboxTable table({});
  table.resize(10);
  table.own();
  for (uint32_t i = 0; i < 4; ++i) table.subscribe(agent(i), 1);
  std::vector<Outcome> outcomes(4, Outcome::ok);
  outcomes[2] = Outcome::denied;
  EXPECT_EQ(table.publish(1, from(agent(9)), bytes_of(patterned(100, 1)), outcomes), 3u);
  EXPECT_EQ(outcomes[2], Outcome::denied);
  EXPECT_EQ(table.queued(table.subscribers(1)[2]), 0u);
  std::vector<Outcome> few(3);
  EXPECT_EQ(code_of([&] { table.publish(1, from(agent(9)), {}, few); }),
            ErrorCode::dimension_mismatch);
}

TEST(MailboxTopics, a_closed_box_loses_its_subscription_at_the_next_publication) {
  MailboxTable table({});
  table.resize(10);
  table.own();
  for (uint32_t i = 0; i < 3; ++i) table.subscribe(agent(i), 1);
  table.close_box(agent(1), Outcome::revoked);
  std::vector<Outcome> outcomes(3, Outcome::ok);
  EXPECT_EQ(table.publish(1, from(agent(9)), {}, outcomes), 2u);
  EXPECT_EQ(outcomes[1], Outcome::revoked);
  EXPECT_EQ(table.subscribers(1).size(), 2u);
}

TEST(MailboxTopics, limits_and_bad_arguments_are_refused_and_change_nothing) {
  MailboxOptions options;
  options.topic_count_max = 2;
  options.subscription_count_max = 5;
  MailboxTable table(options);
  table.resize(10);
  table.own();
  EXPECT_EQ(code_of([&] { table.subscribe(agent(10), 1); }), ErrorCode::unknown_agent);
  EXPECT_EQ(code_of([&] { table.subscribe_prefix(agent(0), 1, 65); }), ErrorCode::out_of_range);
  table.subscribe(agent(0), 1);
  table.subscribe(agent(0), 2);
  EXPECT_EQ(code_of([&] { table.subscribe(agent(0), 3); }), ErrorCode::quota_exceeded);
  // Two topics and the prefix itself would make six.
  table.subscribe(agent(1), 1);
  EXPECT_EQ(code_of([&] { table.subscribe_prefix(agent(2), 0, 0); }), ErrorCode::quota_exceeded);
  EXPECT_EQ(table.subscribers(1).size(), 2u);
  table.unsubscribe_all(agent(0));
  EXPECT_EQ(table.subscribers(2).size(), 0u);
  EXPECT_TRUE(table.subscribe_prefix(agent(2), 0, 0));
  // A topic that can't be kept is resolved all the same.
  for (uint64_t topic = 10; topic < 20; ++topic)
    EXPECT_EQ(table.publish(topic, from(agent(0)), {}), 1u);
}

// Against sets, over random subscriptions by topic and prefix.
TEST(MailboxTopics, who_is_reached_agrees_with_plain_sets_over_random_changes) {
  MailboxTable table({});
  table.resize(40);
  table.own();
  Random random(11);
  std::set<std::pair<uint64_t, AgentId>> exact;
  std::set<std::tuple<uint32_t, uint64_t, AgentId>> prefixes;
  const auto topic_of = [&] {
    return random.below(4) << 62 | random.below(3) << 30 | random.below(3);
  };
  const auto cut = [](uint64_t topic, uint32_t bits) {
    return bits == 0 ? 0 : topic >> (64 - bits);
  };
  for (int step = 0; step < 20'000; ++step) {
    const AgentId who = agent(uint32_t(random.below(40)));
    const uint64_t topic = topic_of();
    const uint32_t widths[] = {0, 1, 2, 40, 63, 64};
    const uint32_t bits = widths[random.below(6)];
    switch (random.below(9)) {
      case 0:
      case 1:
      case 2:
        ASSERT_EQ(table.subscribe(who, topic), exact.insert({topic, who}).second);
        break;
      case 3:
        ASSERT_EQ(table.subscribe_prefix(who, topic, bits),
                  prefixes.insert({bits, cut(topic, bits), who}).second);
        break;
      case 4:
      case 5:
        ASSERT_EQ(table.unsubscribe(who, topic), exact.erase({topic, who}) != 0);
        break;
      case 6:
        ASSERT_EQ(table.unsubscribe_prefix(who, topic, bits),
                  prefixes.erase({bits, cut(topic, bits), who}) != 0);
        break;
      case 7:
        if (!random.chance(50)) break;
        table.unsubscribe_all(who);
        std::erase_if(exact, [&](const auto& one) { return one.second == who; });
        std::erase_if(prefixes, [&](const auto& one) { return std::get<2>(one) == who; });
        break;
      default:
        std::set<AgentId> expected;
        for (const auto& [at, whom] : exact)
          if (at == topic) expected.insert(whom);
        for (const auto& [width, value, whom] : prefixes)
          if (value == cut(topic, width)) expected.insert(whom);
        const auto reached = table.subscribers(topic);
        ASSERT_EQ(reached.size(), expected.size());
        ASSERT_EQ(std::set<AgentId>(reached.begin(), reached.end()), expected);
    }
  }
  EXPECT_GT(exact.size() + prefixes.size(), 100u);
}

TEST(MailboxTopics, a_publication_to_very_many_is_bounded_by_the_table) {
  MailboxOptions options;
  options.message_count_max = 10'000;
  MailboxTable table(options);
  table.resize(50'000);
  table.own();
  for (uint32_t i = 0; i < 50'000; ++i) table.subscribe(agent(i), 1);
  std::vector<Outcome> outcomes(50'000, Outcome::ok);
  EXPECT_EQ(table.publish(1, from(agent(0)), bytes_of(patterned(1000, 1)), outcomes), 10'000u);
  EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), Outcome::full), 40'000);
  table.close_all(Outcome::closed);
  EXPECT_EQ(table.counters().dead, 10'000u);
  expect_conserved(table);
}

TEST(MailboxGroups, of_each_group_one_member_gets_each_message_in_turns) {
  ConsumerGroups groups(8);
  EXPECT_TRUE(groups.join(agent(1), 5, 1));
  EXPECT_FALSE(groups.join(agent(1), 5, 1));
  for (uint32_t i = 2; i < 5; ++i) EXPECT_TRUE(groups.join(agent(i), 5, 1));
  EXPECT_TRUE(groups.join(agent(1), 5, 2));
  EXPECT_TRUE(groups.join(agent(9), 6, 1));
  std::map<AgentId, int> taken;
  std::set<AgentId> full = {agent(3)};
  std::vector<Outcome> outcomes;
  const auto gone = [](AgentId member) { return member == agent(2); };
  for (int i = 0; i < 30; ++i) {
    outcomes.clear();
    const auto offer = [&](AgentId member) {
      if (full.contains(member)) return Outcome::full;
      ++taken[member];
      return Outcome::ok;
    };
    groups.offer_to_each(5, outcomes, offer, gone);
    EXPECT_EQ(outcomes, (std::vector<Outcome>{Outcome::ok, Outcome::ok}));
  }
  // Three share the work of the first group, the second has one member; the full one got nothing.
  EXPECT_EQ(taken, (std::map<AgentId, int>{{agent(1), 40}, {agent(2), 10}, {agent(4), 10}}));

  // Whoever is gone is no member any more; a group of which nobody can take it says why.
  outcomes.clear();
  const auto refuse = [](AgentId member) {
    return member == agent(2) || member == agent(4) ? Outcome::revoked : Outcome::full;
  };
  groups.offer_to_each(5, outcomes, refuse, gone);
  EXPECT_EQ(outcomes.back(), Outcome::full);
  EXPECT_EQ(groups.members(5, 1).size(), 3u);
  EXPECT_EQ(groups.member_count(), 5u);
  EXPECT_FALSE(groups.leave(agent(2), 5, 1));
  EXPECT_TRUE(groups.leave(agent(9), 6, 1));
  outcomes.clear();
  groups.offer_to_each(6, outcomes, refuse, gone);
  EXPECT_TRUE(outcomes.empty());
  for (uint32_t i = 10; i < 14; ++i) EXPECT_TRUE(groups.join(agent(i), 7, 0));
  EXPECT_EQ(code_of([&] { groups.join(agent(14), 7, 0); }), ErrorCode::quota_exceeded);
}

}  // namespace
}  // namespace hanse
