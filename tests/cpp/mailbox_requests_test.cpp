#include "mailbox/requests.hpp"

#include <map>
#include <set>

#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

RequestOptions keyed(uint64_t seed, uint32_t count_max = 1u << 10) {
  return {count_max, mix64(seed), mix64(seed + 1)};
}

void expect_balanced(const RequestTable& table) {
  const RequestCounters c = table.counters();
  ASSERT_EQ(c.opened, c.waiting + c.replies + c.errors + c.cancelled + c.expired + c.undeliverable);
}

TEST(Requests, ANumberWorksOnce) {
  RequestTable table(keyed(1));
  const uint64_t number = table.open(agent(3), 0, 0);
  EXPECT_TRUE(table.waiting(number));
  EXPECT_EQ(table.receiver(number), agent(3));
  EXPECT_TRUE(table.end(number, RequestEnd::reply));
  EXPECT_FALSE(table.end(number, RequestEnd::reply));
  EXPECT_FALSE(table.waiting(number));
  EXPECT_EQ(table.receiver(number), id_none);
  // The same place again, another number.
  const uint64_t next = table.open(agent(3), 0, 0);
  EXPECT_EQ(RequestTable::place_of(next), RequestTable::place_of(number));
  EXPECT_NE(next, number);
  EXPECT_FALSE(table.end(number, RequestEnd::reply));
  EXPECT_TRUE(table.waiting(next));
}

TEST(Requests, NumbersFollowFromTheKeyAndFromNothingElse) {
  RequestTable one(keyed(5)), same(keyed(5)), other(keyed(6));
  std::set<uint64_t> numbers;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t number = one.open(agent(0), 0, 0);
    EXPECT_EQ(number, same.open(agent(0), 0, 0));
    EXPECT_NE(number, other.open(agent(0), 0, 0));
    EXPECT_GE(number, 1u << 24);
    numbers.insert(number >> 24);
  }
  EXPECT_EQ(numbers.size(), 1000u);
}

// Key 00 01 … 0f, message 00 01 … 07: vector 8 of the reference implementation.
TEST(Requests, SipHashGivesThePublishedVector) {
  EXPECT_EQ(siphash(0x0706050403020100, 0x0f0e0d0c0b0a0908, 0x0706050403020100),
            0x93f5f5799a932462u);
}

TEST(Requests, AFullTableOpensNoneAndLosesNone) {
  RequestTable table(keyed(2, 3));
  std::vector<uint64_t> numbers;
  for (int i = 0; i < 3; ++i) numbers.push_back(table.open(agent(0), 0, 0));
  EXPECT_EQ(table.open(agent(0), 0, 0), 0u);
  EXPECT_EQ(table.counters().opened, 3u);
  EXPECT_TRUE(table.end(numbers[1], RequestEnd::error));
  EXPECT_NE(table.open(agent(0), 0, 0), 0u);
  expect_balanced(table);
}

TEST(Requests, BadLimitsAreRefused) {
  EXPECT_EQ(code_of([] { RequestTable({0, 1, 2}); }), ErrorCode::out_of_range);
  EXPECT_EQ(code_of([] { RequestTable({1u << 24, 1, 2}); }), ErrorCode::out_of_range);
}

TEST(Requests, CancellingEndsEverythingBelowFromTheTopDown) {
  RequestTable table(keyed(3));
  const uint64_t top = table.open(agent(0), 0, 0);
  const uint64_t left = table.open(agent(1), 0, top), right = table.open(agent(2), 0, top);
  const uint64_t leaf = table.open(agent(3), 0, left);
  const uint64_t apart = table.open(agent(4), 0, 0);
  std::vector<EndedRequest> ended;
  EXPECT_EQ(table.end_tree(top, RequestEnd::cancelled, ended), 4u);
  EXPECT_EQ(ended[0].number, top);
  std::set<uint64_t> numbers;
  for (const EndedRequest& one : ended) {
    EXPECT_EQ(one.end, RequestEnd::cancelled);
    EXPECT_FALSE(table.waiting(one.number));
    numbers.insert(one.number);
  }
  EXPECT_EQ(numbers, (std::set<uint64_t>{top, left, right, leaf}));
  EXPECT_TRUE(table.waiting(apart));
  EXPECT_EQ(table.end_tree(top, RequestEnd::cancelled, ended), 0u);
}

TEST(Requests, AnAnswerLeavesThoseBelowAlone) {
  RequestTable table(keyed(4));
  const uint64_t top = table.open(agent(0), 0, 0);
  const uint64_t below = table.open(agent(1), 0, top);
  EXPECT_TRUE(table.end(top, RequestEnd::reply));
  EXPECT_TRUE(table.waiting(below));
  std::vector<EndedRequest> ended;
  EXPECT_EQ(table.end_tree(top, RequestEnd::cancelled, ended), 0u);
  EXPECT_EQ(table.end_tree(below, RequestEnd::cancelled, ended), 1u);
}

TEST(Requests, TheEarliestDeadlineComesFirstAndTakesItsTreeAlong) {
  RequestTable table(keyed(7));
  const uint64_t late = table.open(agent(0), 300, 0);
  const uint64_t early = table.open(agent(1), 100, 0);
  const uint64_t child = table.open(agent(2), 0, early);
  const uint64_t answered = table.open(agent(3), 50, 0);
  table.end(answered, RequestEnd::reply);
  EXPECT_EQ(table.next_deadline_ns(), 100u);
  std::vector<EndedRequest> ended;
  EXPECT_EQ(table.expire(99, 10, ended), 0u);
  EXPECT_EQ(table.expire(100, 10, ended), 2u);
  EXPECT_EQ(ended[0].number, early);
  EXPECT_EQ(ended[1].number, child);
  EXPECT_TRUE(table.waiting(late));
  EXPECT_EQ(table.next_deadline_ns(), 300u);
  EXPECT_EQ(table.counters().expired, 2u);
}

// A map that knows nothing of slots, and random interleavings of every call.
class Interleaving {
 public:
  explicit Interleaving(uint64_t seed) : random_(seed), table_(keyed(seed, count_max)) {}

  void step() {
    ended_.clear();
    const uint64_t draw = random_.below(6);
    if (draw <= 1) open();
    if (draw == 2 || draw == 3) end_one();
    if (draw == 4) cancel();
    if (draw == 5) expire();
    expect_balanced(table_);
    ASSERT_EQ(table_.counters().waiting, waiting_.size());
  }
  void expect_one_end_each() const {
    for (const auto& [number, count] : ends_) ASSERT_EQ(count, 1) << number;
  }

 private:
  static constexpr uint32_t count_max = 64;
  struct Waiting {
    uint64_t parent, deadline;
  };

  uint64_t any() { return known_[random_.below(known_.size())]; }

  bool below(uint64_t top, uint64_t number) const {
    for (uint64_t at = number; at != 0;) {
      if (at == top) return true;
      at = waiting_.count(at) ? waiting_.at(at).parent : 0;
    }
    return false;
  }
  void add_tree(uint64_t top, std::set<uint64_t>& numbers) const {
    for (const auto& [number, ignored] : waiting_)
      if (below(top, number)) numbers.insert(number);
  }
  void leave(uint64_t number) {
    waiting_.erase(number);
    ++ends_[number];
    for (auto& [child, model] : waiting_)
      if (model.parent == number) model.parent = 0;
  }

  void open() {
    const uint64_t parent = any(), deadline = random_.chance(500) ? now_ + random_.below(50) : 0;
    const uint64_t number = table_.open(agent(1), deadline, parent);
    ASSERT_EQ(number == 0, waiting_.size() == count_max);
    if (number == 0) return;
    ASSERT_EQ(ends_.count(number), 0u);
    waiting_[number] = {waiting_.count(parent) ? parent : 0, deadline};
    known_.push_back(number);
  }
  void end_one() {
    const uint64_t number = any();
    const bool waited = waiting_.count(number) != 0;
    ASSERT_EQ(table_.end(number, RequestEnd(1 + random_.below(5))), waited);
    if (waited) leave(number);
  }
  void cancel() {
    const uint64_t number = any();
    std::set<uint64_t> expected;
    if (waiting_.count(number)) add_tree(number, expected);
    table_.end_tree(number, RequestEnd::cancelled, ended_);
    expect_ended(expected);
  }
  void expire() {
    now_ += random_.below(10);
    std::set<uint64_t> expected;
    for (const auto& [number, model] : waiting_)
      if (model.deadline != 0 && model.deadline <= now_) add_tree(number, expected);
    table_.expire(now_, SIZE_MAX, ended_);
    expect_ended(expected);
  }
  void expect_ended(const std::set<uint64_t>& expected) {
    std::set<uint64_t> got;
    for (const EndedRequest& one : ended_) got.insert(one.number);
    ASSERT_EQ(got, expected);
    ASSERT_EQ(got.size(), ended_.size());
    for (const uint64_t number : expected) leave(number);
  }

  Random random_;
  RequestTable table_;
  std::map<uint64_t, Waiting> waiting_;
  std::map<uint64_t, int> ends_;
  std::vector<uint64_t> known_{0, 1, UINT64_MAX};
  std::vector<EndedRequest> ended_;
  uint64_t now_ = 1;
};

TEST(Requests, EachEndsExactlyOnceUnderAnyInterleaving) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Interleaving interleaving(seed);
    for (int i = 0; i < 2000 && !testing::Test::HasFatalFailure(); ++i) interleaving.step();
    interleaving.expect_one_end_each();
  }
}

}  // namespace
}  // namespace hanse
