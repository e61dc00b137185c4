// Durable boxes through the kernel, over a simulated disk: delivery, keys, the outbox, reopening.
#include <gtest/gtest.h>

#include <algorithm>

#include "durable_fixture.hpp"

namespace hanse {
namespace {

TEST(Durable, HandsOutInOrderUntilAcknowledged) {
  Post post;
  for (const char* text : {"a", "b", "c"}) EXPECT_EQ(post.send(text).outcome, Outcome::ok);
  const std::vector<Delivery> got = post.drain();
  ASSERT_EQ(got.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(got[i].durable);
    EXPECT_EQ(got[i].sequence, i);
    EXPECT_EQ(got[i].attempt, 1);
    EXPECT_EQ(got[i].requester, post.sender);
    EXPECT_EQ(got[i].worker, post.box);
    EXPECT_EQ(text_of(got[i].payload), std::string(1, char('a' + i)));
  }
  EXPECT_TRUE(post.drain().empty());
  EXPECT_EQ(post.info().in_flight, 3u);
  post.acknowledge({1});
  post.acknowledge({0, 2});
  EXPECT_EQ(post.info().acknowledged, 3u);
  EXPECT_EQ(post.info().queued, 0u);
  post.expect_conserved();
  EXPECT_EQ(code_of([&] { post.acknowledge({1}); }), ErrorCode::already_resolved);
  EXPECT_EQ(code_of([&] { post.acknowledge({3}); }), ErrorCode::out_of_range);
}

TEST(Durable, GivesAnUnacknowledgedMessageAgainAfterReopening) {
  Post post;
  const std::string large(5000, 'x');
  post.send("first"), post.send(large), post.send("third");
  EXPECT_EQ(post.drain().size(), 3u);
  post.acknowledge({0});
  post.reopen();
  std::vector<Delivery> got = post.drain();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(text_of(got[0].payload), large);
  EXPECT_EQ(got[0].sequence, 1u);
  EXPECT_EQ(got[0].attempt, 2);
  post.acknowledge({1, 2});
  const Digest hash = post.kernel->state_hash().all;
  post.reopen();
  EXPECT_TRUE(post.drain().empty());
  EXPECT_EQ(post.kernel->state_hash().all, hash);
  post.expect_conserved();
}

TEST(Durable, HandsNothingOutBeforeItsRecordIsDurable) {
  Post post;
  post.send("known");
  EXPECT_EQ(post.drain().size(), 1u);
  const DurableMessage next{post.box, bytes_of("next"), {}, {}};
  DurableSent sent;
  const Position position =
      post.kernel->commit_durable(post.box, {{}, {&next, 1}, {}}, {&sent, 1}, false);
  EXPECT_GE(position, post.kernel->durable_count());
  EXPECT_TRUE(post.drain().empty());
  post.kernel->flush();
  EXPECT_EQ(post.drain().size(), 1u);
}

TEST(Durable, AnswersAKeyOnceAndAgainWithTheSame) {
  Post post;
  const DurableSent first = post.send("order", "k1");
  const uint64_t count = post.kernel->journal().count();
  const DurableSent again = post.send("order", "k1");
  EXPECT_EQ(again.outcome, Outcome::replayed);
  EXPECT_EQ(again.sequence, first.sequence);
  EXPECT_EQ(again.position, first.position);
  EXPECT_EQ(post.send("other body", "k1").outcome, Outcome::conflict);
  EXPECT_EQ(post.send("order", "k1", post.other).outcome, Outcome::conflict);
  EXPECT_EQ(post.kernel->journal().count(), count);
  post.drain();
  post.acknowledge({0});
  post.reopen();
  EXPECT_EQ(post.send("order", "k1").outcome, Outcome::replayed);
  EXPECT_EQ(post.info().accepted, 1u);
  // The key is the sender's own.
  const DurableSent of_another =
      post.kernel->send_durable(post.other, {post.box, bytes_of("mine"), bytes_of("k1"), {}});
  EXPECT_EQ(of_another.outcome, Outcome::ok);
}

TEST(Durable, RemembersTheNewestKeysOfASender) {
  Post post({.capacity_messages = 1 << 16});
  std::vector<std::string> keys;
  for (uint32_t i = 0; i < durable_keys_per_sender_max + 1; ++i)
    keys.push_back("key " + std::to_string(i));
  std::vector<DurableMessage> messages;
  for (const std::string& key : keys) messages.push_back({post.box, {}, bytes_of(key), {}});
  std::vector<DurableSent> sent(keys.size());
  EXPECT_EQ(code_of([&] { post.kernel->send_durable_many(post.sender, messages, sent); }),
            ErrorCode::too_large);
  messages.pop_back(), sent.pop_back();
  post.kernel->send_durable_many(post.sender, messages, sent);
  post.kernel->send_durable_many(post.sender, messages, sent);
  for (const DurableSent& one : sent) EXPECT_EQ(one.outcome, Outcome::replayed);
  EXPECT_EQ(post.send("", keys.back()).outcome, Outcome::ok);
  EXPECT_EQ(post.send("", keys[1]).outcome, Outcome::replayed);
  EXPECT_EQ(post.send("", keys[0]).outcome, Outcome::ok);
}

TEST(Durable, RefusesWhatIsNotToBeSentAndChangesNothing) {
  Post post({.capacity_messages = 2, .payload_bytes_max = 10});
  const Digest hash = post.kernel->state_hash().all;
  EXPECT_EQ(post.send("x", "", post.other).outcome, Outcome::invalid);
  EXPECT_EQ(post.send("x", "", 12345).outcome, Outcome::unknown);
  EXPECT_EQ(post.send("0123456789a").outcome, Outcome::too_large);
  EXPECT_EQ(post.send("x", std::string(65, 'k')).outcome, Outcome::too_large);
  EXPECT_EQ(post.kernel->state_hash().all, hash);
  EXPECT_EQ(post.send("0123456").outcome, Outcome::ok);
  EXPECT_EQ(post.send("4567").outcome, Outcome::full);
  EXPECT_EQ(post.send("789").outcome, Outcome::ok);
  EXPECT_EQ(post.send("").outcome, Outcome::full);
  post.drain();
  post.acknowledge({0});
  EXPECT_EQ(post.send("0123456").outcome, Outcome::ok);
  EXPECT_EQ(code_of([&] { post.kernel->send_durable(777, {post.box, {}, {}, {}}); }),
            ErrorCode::unknown_agent);
  EXPECT_EQ(code_of([&] { post.kernel->declare_durable(post.box, std::vector{post.other}, {}); }),
            ErrorCode::not_permitted);
  EXPECT_EQ(code_of([&] {
              post.kernel->declare_durable(post.box, std::vector{post.box},
                                           {.capacity_messages = 0});
            }),
            ErrorCode::out_of_range);
}

TEST(Durable, SendsABatchInOneRecordWithAnOutcomeEach) {
  Post post({.capacity_messages = 3});
  const std::vector<DurableMessage> messages = {{post.box, bytes_of("1"), bytes_of("a"), {}},
                                                {post.other, bytes_of("2"), {}, {}},
                                                {post.box, bytes_of("1"), bytes_of("a"), {}},
                                                {post.box, bytes_of("3"), bytes_of("a"), {}},
                                                {post.box, bytes_of("4"), {}, {}},
                                                {post.box, bytes_of("5"), {}, {}},
                                                {post.box, bytes_of("6"), {}, {}}};
  std::vector<DurableSent> sent(messages.size());
  const uint64_t count = post.kernel->journal().count();
  post.kernel->send_durable_many(post.sender, messages, sent);
  const std::vector<Outcome> expected = {Outcome::ok,       Outcome::invalid, Outcome::replayed,
                                         Outcome::conflict, Outcome::ok,      Outcome::ok,
                                         Outcome::full};
  for (size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(sent[i].outcome, expected[i]) << i;
  EXPECT_EQ(sent[2].sequence, sent[0].sequence);
  EXPECT_EQ(sent[5].sequence, 2u);
  EXPECT_EQ(post.kernel->journal().count(), count + 1);
  EXPECT_EQ(post.kernel->event(post.kernel->root(), count).type, "durable_committed");
}

TEST(Durable, CommitsAcknowledgementMessagesAndStateTogetherOrNotAtAll) {
  Post post;
  post.kernel->declare_durable(post.kernel->root(), std::vector{post.other},
                               {.capacity_messages = 1});
  post.send("job");
  post.drain();
  const std::vector<uint64_t> done = {0};
  const std::vector<DurableMessage> two = {{post.other, bytes_of("r1"), {}, {}},
                                           {post.other, bytes_of("r2"), {}, {}}};
  std::vector<DurableSent> sent(2);
  const Digest hash = post.kernel->state_hash().all;
  EXPECT_EQ(post.kernel->commit_durable(post.box, {done, two, bytes_of("s")}, sent), position_none);
  EXPECT_EQ(sent[0].outcome, Outcome::aborted);
  EXPECT_EQ(sent[1].outcome, Outcome::full);
  EXPECT_EQ(post.kernel->state_hash().all, hash);

  const uint64_t count = post.kernel->journal().count();
  const std::span<const DurableMessage> one(two.data(), 1);
  EXPECT_EQ(post.kernel->commit_durable(post.box, {done, one, bytes_of("after")}, {sent.data(), 1}),
            count);
  EXPECT_EQ(post.kernel->journal().count(), count + 1);
  EXPECT_EQ(text_of(post.kernel->durable_state(post.box, post.box)), "after");
  EXPECT_EQ(post.info().queued, 0u);
  EXPECT_EQ(post.info(post.other).queued, 1u);
  EXPECT_EQ(
      code_of([&] { post.kernel->commit_durable(post.box, {done, one, {}}, {sent.data(), 1}); }),
      ErrorCode::already_resolved);
  const std::string large(20'000, 's');
  post.kernel->commit_durable(post.box, {{}, {}, bytes_of(large)}, {});
  post.reopen();
  EXPECT_EQ(text_of(post.kernel->durable_state(post.box, post.box)), large);
  EXPECT_EQ(code_of([&] { (void)post.kernel->durable_state(post.other, post.box); }),
            ErrorCode::not_permitted);
  EXPECT_EQ(code_of([&] { post.kernel->commit_durable(post.box, {}, {}); }), ErrorCode::empty);
}

TEST(Durable, LosesAllOfAnUnflushedCommitOrNothing) {
  Post post;
  post.send("job");
  post.drain();
  const std::vector<uint64_t> done = {0};
  const std::vector<DurableMessage> reply = {{post.box, bytes_of("next"), {}, {}}};
  std::vector<DurableSent> sent(1);
  post.kernel->commit_durable(post.box, {done, reply, bytes_of("state")}, sent, false);
  for (const bool happened : {false, true}) {
    if (happened) post.kernel->flush();
    Post after;
    after.disk = post.disk->recover(Unsynced::none, 3);
    after.open();
    const std::vector<Delivery> got = after.drain();
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(text_of(got[0].payload), happened ? "next" : "job");
    EXPECT_EQ(text_of(after.kernel->durable_state(post.box, post.box)), happened ? "state" : "");
    EXPECT_EQ(got[0].sequence, happened ? 1u : 0u);
    EXPECT_EQ(after.info(post.box).acknowledged, happened ? 1u : 0u);
  }
}

TEST(Durable, BuriesAMessageWhoseAttemptsAreUsedUp) {
  Post post({.attempts_max = 2});
  post.send("poison"), post.send("fine");
  EXPECT_EQ(post.drain().size(), 2u);
  post.kernel->return_durable(post.box, std::vector<uint64_t>{0});
  std::vector<Delivery> got = post.drain();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].sequence, 0u);
  EXPECT_EQ(got[0].attempt, 2);
  post.kernel->return_durable(post.box, std::vector<uint64_t>{0});
  EXPECT_TRUE(post.drain().empty());
  const std::vector<DurableDead> dead =
      post.kernel->durable_dead_letters(post.kernel->root(), post.box);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(text_of(dead[0].payload.bytes), "poison");
  EXPECT_EQ(dead[0].reason, Outcome::expired);
  EXPECT_EQ(post.info().dead, 1u);
  EXPECT_EQ(post.info().queued, 1u);
  post.expect_conserved();
  // The other one is at its second opening now, and dead at its third.
  post.reopen();
  EXPECT_EQ(post.drain().at(0).attempt, 2);
  post.reopen();
  EXPECT_TRUE(post.drain().empty());
  EXPECT_EQ(post.info().dead, 2u);
  post.expect_conserved();
}

TEST(Durable, CountsNoAttemptAgainstABacklogThatWasNeverHandedOut) {
  Post post({.in_flight_max = 2, .attempts_max = 2});
  for (int i = 0; i < 5; ++i) post.send(std::to_string(i));
  EXPECT_EQ(post.drain().size(), 2u);
  EXPECT_TRUE(post.drain().empty());
  for (int i = 0; i < 3; ++i) post.reopen();
  EXPECT_EQ(post.info().dead, 2u);
  const std::vector<Delivery> got = post.drain();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].sequence, 2u);
  EXPECT_EQ(got[0].attempt, 2);
  post.acknowledge({3});
  EXPECT_EQ(post.drain().at(0).sequence, 4u);
  post.acknowledge({4, 2});
  post.expect_conserved();
}

TEST(Durable, MakesDeadLettersOfWhatWaitsForARevokedAgent) {
  Post post;
  post.send("late");
  post.kernel->revoke(post.kernel->root(), post.box);
  EXPECT_TRUE(post.drain().empty());
  EXPECT_EQ(post.info().dead, 1u);
  EXPECT_EQ(post.send("later").outcome, Outcome::revoked);
  post.kernel->revoke(post.kernel->root(), post.sender);
  EXPECT_EQ(post.send("never").outcome, Outcome::revoked);
  EXPECT_EQ(code_of([&] { post.acknowledge({0}); }), ErrorCode::revoked);
  const Digest hash = post.kernel->state_hash().all;
  post.reopen();
  EXPECT_EQ(post.kernel->state_hash().all, hash);
  post.expect_conserved();
}

TEST(Durable, FollowsThePolicyOfSend) {
  Post post;
  post.kernel->load_policy(post.kernel->root(),
                           "permit(principal, action, resource);\n"
                           "forbid(principal, action == Action::\"send\", resource);");
  EXPECT_EQ(post.send("no").outcome, Outcome::denied);
}

TEST(Durable, IsReadWhereThereIsNoWriter) {
  Post post;
  post.send("kept");
  post.drain();
  const Digest hash = post.kernel->state_hash().all;
  post.kernel->close();
  post.open(true);
  EXPECT_EQ(post.kernel->state_hash().all, hash);
  EXPECT_EQ(post.info().queued, 1u);
  EXPECT_TRUE(post.drain().empty());
  EXPECT_EQ(code_of([&] { post.send("more"); }), ErrorCode::read_only);
}

TEST(Durable, LeavesTheStateHashOfAKernelWithoutDurableBoxesAlone) {
  KernelOptions options;
  const std::unique_ptr<Kernel> kernel = Kernel::open(options);
  EXPECT_FALSE(kernel->state_hash().mailbox.has_value());
  kernel->declare_durable(kernel->root(), std::vector{kernel->root()}, {});
  EXPECT_TRUE(kernel->state_hash().mailbox.has_value());
}

TEST(Durable, TakesTurnsBetweenBoxes) {
  Post post;
  post.kernel->declare_durable(post.kernel->root(), std::vector{post.other}, {});
  for (int i = 0; i < 200; ++i) post.send("b");
  post.send("o", "", post.other);
  const std::vector<Delivery> got = post.drain(100);
  ASSERT_EQ(got.size(), 100u);
  EXPECT_EQ(std::count_if(got.begin(), got.end(),
                          [&](const Delivery& one) { return one.worker == post.other; }),
            1);
  EXPECT_EQ(post.drain(1000).size(), 101u);
}

TEST(Durable, GivesOneAgentItsOwn) {
  Post post;
  post.send("mine");
  MessageBatch batch;
  std::vector<Delivery> deliveries;
  EXPECT_FALSE(post.kernel->receive(post.other, batch, deliveries));
  ASSERT_TRUE(post.kernel->receive(post.box, batch, deliveries));
  EXPECT_EQ(text_of(deliveries.at(0).payload), "mine");
  EXPECT_FALSE(post.kernel->receive(post.box, batch, deliveries));
  EXPECT_TRUE(post.drain().empty());
}

}  // namespace
}  // namespace hanse
