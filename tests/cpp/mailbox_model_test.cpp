#include <gtest/gtest.h>

#include <map>

#include "mailbox_model.hpp"

namespace hanse {
namespace {

void expect_same(const Message& message, const Model::Entry& expected) {
  ASSERT_EQ(message.to, expected.header.to);
  ASSERT_EQ(message.sender, expected.header.sender);
  ASSERT_EQ(message.kind, expected.header.kind);
  ASSERT_EQ(message.lane, expected.header.lane);
  ASSERT_EQ(message.request, expected.header.request);
  ASSERT_EQ(message.rare->deadline_ns, expected.header.deadline_ns);
  ASSERT_EQ(message.rare->key, expected.header.key);
  ASSERT_EQ(message.rare->latent, expected.header.latent);
  if (expected.header.trace != 0) {
    // Else a sampled one has been given a number.
    ASSERT_EQ(message.rare->trace, expected.header.trace);
  }
  ASSERT_EQ(message.sequence, expected.sequence);
  ASSERT_EQ(std::vector<uint8_t>(message.payload.begin(), message.payload.end()), expected.payload);
}

class MailboxWalk {
 public:
  explicit MailboxWalk(uint64_t seed) : random_(seed), table_(options()), model_(options()) {
    table_.resize(12);
    table_.own();
    model_.boxes.resize(12);
    for (uint32_t index = 0; index < 12; ++index) set_up(index);
  }

  static MailboxOptions options() {
    MailboxOptions options;
    options.box_capacity_messages = 9;
    options.message_count_max = 60;
    options.payload_size_bytes_max = 4096;
    options.payload_bytes_max = 16'000;
    options.group_quantum_messages = 7;
    options.ageing_messages = 3;
    options.trace_interval = 16;
    return options;
  }

  const std::map<Outcome, uint64_t>& seen() const { return seen_; }
  const Model& model() const { return model_; }
  uint64_t credited() const { return credited_; }

  void step() {
    const uint64_t choice = random_.below(100);
    if (choice < 60) {
      send();
    } else if (choice < 66) {
      drain();
    } else if (choice < 70) {
      run_native();
    } else if (choice < 76) {
      receive();
    } else if (choice < 86) {
      const uint32_t index = any_box();
      const bool paused = random_.chance(400);
      table_.set_paused(agent(index), paused);
      model_.boxes[index].paused = paused;
      model_.mark(index);
    } else if (choice < 88 && model_.boxes.size() < 200) {
      model_.boxes.resize(model_.boxes.size() + 1);
      table_.resize(uint32_t(model_.boxes.size()));
      set_up(uint32_t(model_.boxes.size()) - 1);
    } else if (choice < 89) {
      const uint32_t index = any_box();
      table_.close_box(agent(index), Outcome::revoked);
      model_.close(index);
    } else if (choice < 91) {
      set_up(any_box());
    } else if (choice < 95) {
      const uint32_t index = any_box();
      const uint64_t request = random_.below(6);
      ASSERT_EQ(table_.cancel(agent(index), request), model_.cancel(index, request));
    } else if (choice < 98) {
      resend();
    } else if (batch_.count() != 0) {
      table_.dead(batch_.messages()[0], Outcome::invalid);
      --model_.handled, ++model_.dead;
      model_.bury(expected_[0], Outcome::invalid);
      clear();
    }
    compare();
  }

 private:
  uint32_t any_box() { return uint32_t(random_.below(model_.boxes.size())); }

  // Another policy, capacity, group and way of handling.
  void set_up(uint32_t index) {
    BoxOptions rules;
    rules.policy = random_.chance(300) ? BoxPolicy::reject : BoxPolicy(random_.below(5));
    rules.capacity_messages = random_.chance(500) ? 0 : uint32_t(1 + random_.below(12));
    table_.set_box(agent(index), rules);
    model_.set_rules(index, rules);
    const auto group = uint32_t(random_.below(4));
    table_.set_group(agent(index), group);
    model_.boxes[index].group = group;
    const bool native = random_.chance(300);
    table_.set_native(agent(index), native ? &handle : nullptr, this);
    model_.boxes[index].native = native;
    model_.boxes[index].parked = false;
    model_.mark(index);
  }

  MessageHeader any_header() {
    MessageHeader sent = header(agent(uint32_t(random_.below(5))),
                                agent(uint32_t(random_.below(model_.boxes.size() + 1))),
                                MessageKind(random_.below(6)));
    sent.lane = random_.chance(600) ? 0 : uint8_t(random_.below(lane_count));
    sent.request = random_.below(6);
    if (random_.chance(300)) sent.deadline_ns = now_ + random_.below(40);
    if (random_.chance(500)) sent.key = random_.below(4);
    if (random_.chance(200)) sent.trace = 1 + random_.below(1000);
    if (random_.chance(200)) sent.latent = random_.next();
    return sent;
  }
  void send() {
    static constexpr size_t sizes[] = {0, 1, 8, 33, 64, 64, 65, 200, 4096, 4097};
    const MessageHeader sent = any_header();
    const std::vector<uint8_t> payload = patterned(sizes[random_.below(10)], random_.next());
    if (random_.chance(200) && payload.size() <= 4096) {
      lend(sent, payload);
      return;
    }
    const Outcome expected = model_.send(sent, payload);
    ASSERT_EQ(table_.send(sent, bytes_of(payload)), expected);
    ++seen_[expected];
  }
  // By a buffer that is moved; bytes that fit a slot are copied there after all.
  void lend(const MessageHeader& sent, const std::vector<uint8_t>& payload) {
    Model::Charge charge = model_.charged(payload.size());
    Payload loan = table_.loan(payload.size());
    ASSERT_EQ(bool(loan), bool(charge));
    if (!loan) return;
    std::copy(payload.begin(), payload.end(), loan.writable());
    const Outcome expected = model_.send(sent, payload, payload.size() > 64 ? charge : nullptr);
    ASSERT_EQ(table_.send_payload(sent, std::move(loan)), expected);
    ASSERT_EQ(bool(loan), expected != Outcome::ok && expected != Outcome::dropped);
    ++seen_[expected];
  }
  void clear() {
    batch_.clear();
    expected_.clear();
  }
  void drain() {
    const size_t count_max = random_.below(20);
    const auto quantum = uint32_t(1 + random_.below(5));
    now_ += random_.below(20);
    clear();
    const bool choosy = random_.chance(400);
    const WantedBoxes odd{[](void*, AgentId agent) { return odd_index(index_of(agent)); }, nullptr};
    if (random_.chance(100)) {
      table_.unpark();
      model_.unpark();
    }
    if (!choosy) model_.unpark();
    ASSERT_LE(table_.drain(batch_, count_max, now_, quantum, choosy ? &odd : nullptr), count_max);
    model_.run(
        model_.ready, false, count_max, now_, quantum, expected_, [](auto&) {},
        choosy ? &odd_index : nullptr);
    expect_same_batch();
  }
  static bool odd_index(uint32_t index) { return index % 2 == 1; }
  void receive() {
    const uint32_t index = any_box();
    clear();
    ASSERT_EQ(table_.receive(agent(index), batch_, now_), model_.receive(index, now_, expected_));
    expect_same_batch();
  }
  void expect_same_batch() {
    ASSERT_EQ(batch_.count(), expected_.size());
    for (size_t i = 0; i < expected_.size(); ++i) expect_same(batch_.messages()[i], expected_[i]);
  }

  // Some messages make their receiver send another.
  static std::optional<MessageHeader> onward(const MessageHeader& got, const uint8_t* payload,
                                             size_t size) {
    if (size == 0 || payload[0] % 4 != 0) return std::nullopt;
    return header(got.to, agent((index_of(got.to) + 1) % 12));
  }
  static void handle(void* context, MailboxTable& table, const Message& message) {
    auto& walk = *static_cast<MailboxWalk*>(context);
    walk.handled_.push_back({message.header(),
                             {message.payload.begin(), message.payload.end()},
                             nullptr,
                             message.sequence,
                             false});
    const auto next = onward(message.header(), message.payload.data(), message.payload.size());
    if (next) walk.outcomes_.push_back(table.send(*next, message.payload.first(1)));
    EXPECT_EQ(code_of([&] { table.run_native(1, 0); }), ErrorCode::illegal_transition);
    EXPECT_EQ(code_of([&] { table.drain(walk.batch_, 1, 0); }), ErrorCode::illegal_transition);
    EXPECT_EQ(code_of([&] { table.receive(agent(0), walk.batch_, 0); }),
              ErrorCode::illegal_transition);
  }
  void run_native() {
    const size_t count_max = random_.below(20);
    const auto quantum = uint32_t(1 + random_.below(5));
    handled_.clear();
    outcomes_.clear();
    const size_t count = table_.run_native(count_max, now_, quantum);
    std::vector<Model::Entry> expected;
    std::vector<Outcome> outcomes;
    model_.run(model_.native_ready, true, count_max, now_, quantum, expected,
               [&](const Model::Entry& entry) {
                 model_.in_hand = 1;
                 const auto next = onward(entry.header, entry.payload.data(), entry.payload.size());
                 if (next) outcomes.push_back(model_.send(*next, {entry.payload[0]}));
                 model_.in_hand = 0;
               });
    ASSERT_EQ(count, expected.size());
    ASSERT_EQ(outcomes_, outcomes);
    ASSERT_EQ(handled_.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(handled_[i].header.to, expected[i].header.to);
      ASSERT_EQ(handled_[i].header.lane, expected[i].header.lane);
      ASSERT_EQ(handled_[i].header.key, expected[i].header.key);
      ASSERT_EQ(handled_[i].sequence, expected[i].sequence);
      ASSERT_EQ(handled_[i].payload, expected[i].payload);
    }
    native_count_ += expected.size();
  }
  void resend() {
    const uint64_t number =
        model_.letter_count < 5 ? 0 : model_.letter_count - 1 - random_.below(5);
    const Outcome expected = model_.resend(number);
    ASSERT_EQ(table_.resend(number), expected);
  }

  void compare() {
    const MailboxCounters c = table_.counters();
    ASSERT_EQ(c.accepted, model_.accepted);
    ASSERT_EQ(c.handled, model_.handled);
    ASSERT_EQ(c.expired, model_.expired);
    ASSERT_EQ(c.cancelled, model_.cancelled);
    ASSERT_EQ(c.dead, model_.dead);
    ASSERT_EQ(c.queued, model_.queued);
    ASSERT_EQ(c.resent, model_.resent);
    ASSERT_EQ(c.accepted, c.handled + c.expired + c.cancelled + c.dead + c.queued);
    std::array<uint64_t, lane_count> queued{};
    for (uint32_t i = 0; i < model_.boxes.size(); ++i)
      for (uint8_t lane = 0; lane < lane_count; ++lane) {
        ASSERT_EQ(table_.queued(agent(i), lane), model_.boxes[i].lanes[lane].size());
        queued[lane] += table_.queued(agent(i), lane);
      }
    for (size_t lane = 0; lane < lane_count; ++lane) {
      ASSERT_EQ(c.lanes[lane].queued, queued[lane]);
      ASSERT_EQ(c.lanes[lane].entered,
                c.lanes[lane].handled + c.lanes[lane].ended + c.lanes[lane].queued);
    }
    std::vector<AgentId> credited;
    table_.take_credited(credited);
    model_.credit_starved();
    ASSERT_EQ(credited, model_.credited);
    credited_ += credited.size();
    model_.credited.clear();
    if (random_.chance(20)) compare_letters();
  }
  void compare_letters() {
    const std::vector<DeadLetter> letters = table_.dead_letters();
    ASSERT_EQ(letters.size(), model_.letters.size());
    for (size_t i = 0; i < letters.size(); ++i) {
      const Model::Letter& expected = model_.letters[i];
      ASSERT_EQ(letters[i].number, expected.number);
      ASSERT_EQ(letters[i].reason, expected.reason);
      ASSERT_EQ(letters[i].cut, expected.cut);
      ASSERT_EQ(letters[i].header.to, expected.entry.header.to);
      ASSERT_EQ(letters[i].header.lane, expected.entry.header.lane);
      ASSERT_EQ(letters[i].header.key, expected.entry.header.key);
      ASSERT_EQ(letters[i].payload, expected.entry.payload);
    }
  }

  Random random_;
  MailboxTable table_;
  Model model_;
  MessageBatch batch_;
  std::vector<Model::Entry> expected_, handled_;
  std::vector<Outcome> outcomes_;
  uint64_t now_ = 1000, credited_ = 0, native_count_ = 0;
  std::map<Outcome, uint64_t> seen_;
};

TEST(MailboxModel, agrees_with_deques_over_random_operations_with_everything_switched_on) {
  std::map<Outcome, uint64_t> seen;
  uint64_t expired = 0, cancelled = 0, dead = 0, resent = 0, credited = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    MailboxWalk walk(seed);
    for (int step = 0; step < 1500; ++step) {
      walk.step();
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", step " << step;
    }
    for (const auto& [outcome, count] : walk.seen()) seen[outcome] += count;
    expired += walk.model().expired;
    cancelled += walk.model().cancelled;
    dead += walk.model().dead;
    resent += walk.model().resent;
    credited += walk.credited();
  }
  // The walk is worth something only if it reached every answer often.
  for (const Outcome outcome : {Outcome::ok, Outcome::full, Outcome::unknown, Outcome::too_large,
                                Outcome::revoked, Outcome::dropped})
    EXPECT_GT(seen[outcome], 300u) << int(outcome);
  for (const uint64_t count : {expired, cancelled, dead, resent, credited}) EXPECT_GT(count, 100u);
}

}  // namespace
}  // namespace hanse
