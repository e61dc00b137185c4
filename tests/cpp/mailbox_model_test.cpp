#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>

#include "mailbox_fixture.hpp"

namespace hanse {
namespace {

// The whole table in the plainest terms: a deque a box, and a list of boxes that have work.
struct Model {
  struct Entry {
    MessageHeader header;
    std::vector<uint8_t> payload;
    uint64_t sequence;
  };
  struct ModelBox {
    std::deque<Entry> queue;
    uint64_t sent = 0;
    bool paused = false, closed = false, ready = false;
  };
  std::vector<ModelBox> boxes;
  std::deque<uint32_t> ready;
  uint64_t accepted = 0, handled = 0, expired = 0, dead = 0, large_bytes = 0, queued = 0;

  static uint64_t large(const Entry& entry) {
    return entry.payload.size() > 64 ? entry.payload.size() : 0;
  }
  void mark(uint32_t index) {
    ModelBox& box = boxes[index];
    if (box.ready || box.paused || box.queue.empty()) return;
    box.ready = true;
    ready.push_back(index);
  }
  Outcome send(const MessageHeader& sent, const std::vector<uint8_t>& payload,
               const MailboxOptions& options) {
    if (payload.size() > options.payload_size_bytes_max) return Outcome::too_large;
    if (index_of(sent.to) >= boxes.size()) return Outcome::unknown;
    ModelBox& box = boxes[index_of(sent.to)];
    if (box.closed) return Outcome::revoked;
    const bool answer = sent.kind == MessageKind::reply || sent.kind == MessageKind::failure;
    const uint32_t more = answer ? std::max(1u, options.box_capacity_messages / 8) : 0;
    const uint32_t more_in_all = answer ? std::max(1u, options.message_count_max / 8) : 0;
    if (box.queue.size() >= options.box_capacity_messages + more) return Outcome::full;
    if (queued >= options.message_count_max + more_in_all) return Outcome::full;
    const Entry entry{sent, payload, box.sent};
    if (large_bytes + large(entry) > options.payload_bytes_max) return Outcome::full;
    large_bytes += large(entry);
    ++box.sent, ++accepted, ++queued;
    box.queue.push_back(entry);
    mark(index_of(sent.to));
    return Outcome::ok;
  }
  bool take(ModelBox& box, uint64_t now, std::vector<Entry>& out) {
    Entry entry = box.queue.front();
    box.queue.pop_front();
    large_bytes -= large(entry);
    --queued;
    const bool alive = entry.header.deadline_ns == 0 || now < entry.header.deadline_ns;
    ++(alive ? handled : expired);
    if (alive) out.push_back(std::move(entry));
    return alive;
  }
  void drain(size_t count_max, uint64_t now, uint32_t quantum, std::vector<Entry>& out) {
    size_t count = 0;
    while (count < count_max && !ready.empty()) {
      const uint32_t index = ready.front();
      ready.pop_front();
      ModelBox& box = boxes[index];
      box.ready = false;
      if (box.paused) continue;
      const size_t turn = std::min<size_t>(box.queue.size(), quantum);
      for (size_t i = 0; i < turn && count < count_max; ++i) count += take(box, now, out);
      mark(index);
    }
  }
  void close(uint32_t index) {
    ModelBox& box = boxes[index];
    box.closed = true;
    for (const Entry& entry : box.queue) large_bytes -= large(entry);
    dead += box.queue.size(), queued -= box.queue.size();
    box.queue.clear();
  }
};

void expect_same(const MessageBatch& batch, const std::vector<Model::Entry>& expected) {
  ASSERT_EQ(batch.count(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const Message& message = batch.messages()[i];
    ASSERT_EQ(message.to, expected[i].header.to);
    ASSERT_EQ(message.sender, expected[i].header.sender);
    ASSERT_EQ(message.kind, expected[i].header.kind);
    ASSERT_EQ(message.request, expected[i].header.request);
    ASSERT_EQ(message.sequence, expected[i].sequence);
    ASSERT_EQ(std::vector<uint8_t>(message.payload.begin(), message.payload.end()),
              expected[i].payload);
  }
}

class MailboxWalk {
 public:
  explicit MailboxWalk(uint64_t seed) : random_(seed), table_(options()) {
    table_.resize(12);
    table_.own();
    model_.boxes.resize(12);
  }

  static MailboxOptions options() {
    MailboxOptions options;
    options.box_capacity_messages = 9;
    options.message_count_max = 40;
    options.payload_size_bytes_max = 4096;
    options.payload_bytes_max = 9000;
    return options;
  }

  const std::map<Outcome, uint64_t>& seen() const { return seen_; }
  uint64_t expired() const { return model_.expired; }

  void step() {
    const uint64_t choice = random_.below(100);
    if (choice < 60) {
      send();
    } else if (choice < 67) {
      drain();
    } else if (choice < 75) {
      receive();
    } else if (choice < 94) {
      const auto index = uint32_t(random_.below(model_.boxes.size()));
      const bool paused = random_.chance(400);
      table_.set_paused(agent(index), paused);
      model_.boxes[index].paused = paused;
      model_.mark(index);
    } else if (choice < 95 && model_.boxes.size() < 200) {
      model_.boxes.resize(model_.boxes.size() + 1);
      table_.resize(uint32_t(model_.boxes.size()));
    } else if (choice < 96) {
      const auto index = uint32_t(random_.below(model_.boxes.size()));
      table_.close_box(agent(index), Outcome::revoked);
      model_.close(index);
    } else if (batch_.count() != 0) {
      table_.dead(batch_.messages()[0], Outcome::invalid);
      --model_.handled, ++model_.dead;
      batch_.clear();
    }
    compare();
  }

 private:
  void send() {
    static constexpr size_t sizes[] = {0, 1, 8, 64, 64, 64, 65, 200, 4096, 4097};
    MessageHeader sent = header(agent(uint32_t(random_.below(5))),
                                agent(uint32_t(random_.below(model_.boxes.size() + 1))),
                                MessageKind(random_.below(5)));
    sent.request = random_.next();
    sent.deadline_ns = random_.chance(300) ? now_ + random_.below(40) : 0;
    const std::vector<uint8_t> payload = patterned(sizes[random_.below(10)], random_.next());
    const Outcome expected = model_.send(sent, payload, options());
    ASSERT_EQ(table_.send(sent, bytes_of(payload)), expected);
    ++seen_[expected];
  }
  void drain() {
    const size_t count_max = random_.below(20);
    const auto quantum = uint32_t(1 + random_.below(5));
    now_ += random_.below(20);
    std::vector<Model::Entry> expected;
    batch_.clear();
    ASSERT_LE(table_.drain(batch_, count_max, now_, quantum), count_max);
    model_.drain(count_max, now_, quantum, expected);
    expect_same(batch_, expected);
  }
  void receive() {
    const auto index = uint32_t(random_.below(model_.boxes.size()));
    std::vector<Model::Entry> expected;
    Model::ModelBox& box = model_.boxes[index];
    while (!box.queue.empty() && !model_.take(box, now_, expected)) {
    }
    batch_.clear();
    ASSERT_EQ(table_.receive(agent(index), batch_, now_), !expected.empty());
    expect_same(batch_, expected);
  }
  void compare() {
    const MailboxCounters c = table_.counters();
    ASSERT_EQ(c.accepted, model_.accepted);
    ASSERT_EQ(c.handled, model_.handled);
    ASSERT_EQ(c.expired, model_.expired);
    ASSERT_EQ(c.dead, model_.dead);
    ASSERT_EQ(c.queued, model_.queued);
    ASSERT_EQ(c.accepted, c.handled + c.expired + c.dead + c.queued);
    uint64_t queued = 0;
    for (uint32_t i = 0; i < model_.boxes.size(); ++i) {
      ASSERT_EQ(table_.queued(agent(i)), model_.boxes[i].queue.size());
      queued += table_.queued(agent(i));
    }
    ASSERT_EQ(queued, c.queued);
  }

  Random random_;
  MailboxTable table_;
  Model model_;
  MessageBatch batch_;
  uint64_t now_ = 1000;
  std::map<Outcome, uint64_t> seen_;
};

TEST(MailboxModel, agrees_with_a_deque_for_each_box_over_random_operations) {
  std::map<Outcome, uint64_t> seen;
  uint64_t expired = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    MailboxWalk walk(seed);
    for (int step = 0; step < 1500; ++step) {
      walk.step();
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", step " << step;
    }
    for (const auto& [outcome, count] : walk.seen()) seen[outcome] += count;
    expired += walk.expired();
  }
  // The walk is worth something only if it reached every answer often.
  for (const Outcome outcome :
       {Outcome::ok, Outcome::full, Outcome::unknown, Outcome::too_large, Outcome::revoked})
    EXPECT_GT(seen[outcome], 300u) << int(outcome);
  EXPECT_GT(expired, 300u);
}

}  // namespace
}  // namespace hanse
