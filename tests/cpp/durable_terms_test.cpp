// Lanes and deadlines of durable messages, and dead letters that are sent again.
#include <gtest/gtest.h>

#include <algorithm>

#include "durable_fixture.hpp"

namespace hanse {
namespace {

DurableTerms lane(uint8_t number) { return {number, 0}; }

TEST(DurableTerms, TheMostUrgentLaneGoesFirstAndEachKeepsItsOrder) {
  Post post;
  for (int i = 0; i < 8; ++i) post.send(std::to_string(i), lane(uint8_t(i % 4)));
  EXPECT_EQ(post.taken(), (std::vector<std::string>{"3", "7", "2", "6", "1", "5", "0", "4"}));
  post.acknowledge({0, 1, 2, 3, 4, 5, 6, 7});
  post.expect_conserved();
}

TEST(DurableTerms, ALaneThatWasPassedSixteenTimesComesFirst) {
  Post post;
  post.send("low", lane(0));
  for (int i = 0; i < 20; ++i) post.send("high", lane(3));
  const std::vector<std::string> taken = post.taken();
  ASSERT_EQ(taken.size(), 21u);
  EXPECT_EQ(taken[16], "low");
}

TEST(DurableTerms, NewMessagesOfOneLaneDoNotWakeAnother) {
  DurableOptions options;
  options.in_flight_max = 2;
  Post post(options);
  post.send("a", lane(1)), post.send("b", lane(1)), post.send("c", lane(0));
  EXPECT_EQ(post.taken(), (std::vector<std::string>{"a", "b"}));
  for (int i = 0; i < 5; ++i) post.send("more", lane(2));
  EXPECT_TRUE(post.taken().empty());
  post.acknowledge({0});
  EXPECT_EQ(post.taken(), std::vector<std::string>{"more"});
  post.acknowledge({1, 3});
  EXPECT_EQ(post.taken(), (std::vector<std::string>{"more", "more"}));
  EXPECT_EQ(post.info().in_flight, 2u);
}

TEST(DurableTerms, WhatIsLateBecomesADeadLetterAndHoldsNobodyUp) {
  Post post;
  const uint64_t now = post.clock->now_ns();
  post.send("soon", DurableTerms{0, now + 100});
  post.send("never", DurableTerms{0, 0});
  post.send("later", DurableTerms{2, now + 1000});
  post.clock->advance(100);
  EXPECT_EQ(post.taken(), (std::vector<std::string>{"later", "never"}));
  EXPECT_EQ(post.info().dead, 1u);
  // It is out: its deadline is met, and it may be acknowledged.
  post.clock->advance(5000);
  post.acknowledge({2});
  EXPECT_EQ(post.info().dead, 1u);
  const std::vector<DurableDead> dead =
      post.kernel->durable_dead_letters(post.kernel->root(), post.box);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(dead[0].reason, Outcome::expired);
  EXPECT_EQ(dead[0].attempt, 1);
  EXPECT_EQ(dead[0].sequence, 0u);
  post.expect_conserved();
}

TEST(DurableTerms, WhatComesBackTooLateIsDead) {
  Post post;
  post.send("late", DurableTerms{1, post.clock->now_ns() + 100});
  EXPECT_EQ(post.taken().size(), 1u);
  post.clock->advance(200);
  post.kernel->return_durable(post.box, std::vector<uint64_t>{0});
  EXPECT_TRUE(post.taken().empty());
  EXPECT_EQ(post.info().dead, 1u);
  post.expect_conserved();
}

TEST(DurableTerms, ATickBuriesWhatIsLateWithoutAnybodyTaking) {
  Post post;
  for (int i = 0; i < 600; ++i)
    post.send("x", DurableTerms{uint8_t(i % 4), post.clock->now_ns() + 1});
  post.clock->advance(10'000);
  uint32_t count = 0, more = 0;
  while ((more = post.kernel->tick()) != 0) count += more;
  EXPECT_EQ(count, 600u);
  EXPECT_EQ(post.info().dead, 600u);
  EXPECT_EQ(post.info().queued, 0u);
  EXPECT_EQ(post.info().payload_bytes, 0u);
  post.expect_conserved();
}

TEST(DurableTerms, ADeadLetterIsSentAgainBehindWhatWaits) {
  Post post;
  const std::string large(6000, 'x');
  post.send(large, DurableTerms{3, post.clock->now_ns() + 1}, "key");
  post.send("second");
  post.clock->advance(10);
  EXPECT_EQ(post.taken(), std::vector<std::string>{"second"});
  const DurableSent sent = post.kernel->resend_durable(post.kernel->root(), post.box, 0);
  EXPECT_EQ(sent.outcome, Outcome::ok);
  EXPECT_EQ(sent.sequence, 2u);
  EXPECT_EQ(post.kernel->resend_durable(post.kernel->root(), post.box, 0).outcome,
            Outcome::unknown);
  const std::vector<Delivery> again = post.drain();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(text_of(again[0].payload), large);
  EXPECT_EQ(again[0].requester, post.sender);
  EXPECT_EQ(again[0].lane, 3);
  EXPECT_EQ(again[0].deadline_ns, 0u);
  EXPECT_EQ(again[0].attempt, 1);
  EXPECT_EQ(post.info().accepted, 3u);
  EXPECT_EQ(post.info().dead, 1u);
  post.expect_conserved();
}

TEST(DurableTerms, AFullOrRevokedBoxTakesNoLetterBackAndKeepsIt) {
  DurableOptions options;
  options.capacity_messages = 1;
  Post post(options);
  post.send("old", DurableTerms{0, post.clock->now_ns() + 1});
  post.clock->advance(10);
  EXPECT_TRUE(post.taken().empty());
  post.send("new");
  const AgentId root = post.kernel->root();
  EXPECT_EQ(post.kernel->resend_durable(root, post.box, 0).outcome, Outcome::full);
  EXPECT_EQ(post.kernel->durable_dead_letters(root, post.box).size(), 1u);
  EXPECT_EQ(code_of([&] { post.kernel->resend_durable(post.sender, post.box, 0); }),
            ErrorCode::not_permitted);
  EXPECT_EQ(code_of([&] { post.kernel->resend_durable(root, post.other, 0); }),
            ErrorCode::out_of_range);
  post.kernel->revoke(root, post.box);
  EXPECT_EQ(post.kernel->resend_durable(root, post.box, 0).outcome, Outcome::revoked);
  EXPECT_EQ(code_of([&] { post.send("x", lane(4)); }), ErrorCode::out_of_range);
}

// Whatever happens: reopening by replay, and from a snapshot, gives the same state.
TEST(DurableTerms, LanesDeadlinesAndResentLettersOutliveTheProcess) {
  DurableOptions options;
  options.attempts_max = 100;
  Post post(options);
  const uint64_t start = post.clock->now_ns();
  for (uint64_t i = 0; i < 40; ++i)
    post.send(std::to_string(i),
              DurableTerms{uint8_t(i % 4), i % 3 == 0 ? start + 1000 * (1 + i) : 0});
  post.clock->advance(5000);
  post.kernel->tick();
  EXPECT_EQ(post.kernel->resend_durable(post.kernel->root(), post.box, 3).outcome, Outcome::ok);
  EXPECT_EQ(post.drain(7).size(), 7u);
  const Digest before = post.kernel->state_hash().all;
  post.kernel->close();
  post.open(true);
  EXPECT_EQ(post.kernel->state_hash().all, before);
  post.reopen();
  const uint32_t queued = post.info().queued;
  post.kernel->snapshot();
  const Digest hash = post.kernel->state_hash().all;
  post.kernel->close();
  post.open(true);
  EXPECT_EQ(post.kernel->state_hash().all, hash);
  EXPECT_GT(post.kernel->journal().status().replayed_from, 0u);
  post.reopen();
  EXPECT_EQ(post.info().queued, queued);
  const std::vector<std::string> taken = post.taken();
  ASSERT_EQ(taken.size(), queued);
  std::vector<std::vector<uint64_t>> lanes(4);
  for (const std::string& text : taken) lanes[std::stoul(text) % 4].push_back(std::stoul(text));
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(std::is_sorted(lanes[i].begin(), lanes[i].end()));
  EXPECT_EQ(lanes[3].back(), 3u);  // sent again
  post.expect_conserved();
}

TEST(DurableTerms, ABoxWithoutTermsHashesAsBefore) {
  Post plain, termed;
  plain.send("x"), termed.send("x");
  EXPECT_EQ(plain.kernel->state_hash().mailbox, termed.kernel->state_hash().mailbox);
  plain.send("y"), termed.send("y", lane(1));
  EXPECT_NE(plain.kernel->state_hash().mailbox, termed.kernel->state_hash().mailbox);
}

}  // namespace
}  // namespace hanse
