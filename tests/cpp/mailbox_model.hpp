// The whole table in the plainest terms: deques, and a list of whose turn it is.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "mailbox_fixture.hpp"

namespace hanse {

struct Model {
  // Bytes held; the last holder gives them back.
  using Charge = std::shared_ptr<void>;
  struct Entry {
    MessageHeader header;
    std::vector<uint8_t> payload;
    Charge charge;
    uint64_t sequence = 0;
    bool keyed = false;
  };
  struct Letter {
    uint64_t number = 0;
    Entry entry;
    Outcome reason = Outcome::invalid;
    bool cut = false;
  };
  struct ModelBox {
    std::array<std::deque<Entry>, lane_count> lanes;
    std::array<uint64_t, lane_count> next{};
    std::array<uint32_t, lane_count> passed{};
    BoxOptions rules;
    uint32_t group = 0;
    bool paused = false, closed = false, native = false, owed = false, parked = false;
    bool ready = false, native_ready = false;  // in which rings it stands

    size_t count() const {
      size_t count = 0;
      for (const auto& lane : lanes) count += lane.size();
      return count;
    }
  };
  // Whose turn it is: groups in a ring, boxes in a ring each. One box alone needs neither.
  struct Turns {
    std::optional<std::pair<uint32_t, uint32_t>> alone;
    std::deque<uint32_t> groups;
    std::map<uint32_t, std::deque<uint32_t>> boxes;
    uint32_t served = 0;

    bool empty() const { return !alone && groups.empty(); }
    void append(uint32_t group, uint32_t box) {
      if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
      boxes[group].push_back(box);
    }
    void push(uint32_t group, uint32_t box) {
      if (empty()) {
        alone = {group, box};
        return;
      }
      if (alone) append(alone->first, alone->second);
      alone.reset();
      append(group, box);
    }
  };

  explicit Model(const MailboxOptions& given) : options(given) {}

  MailboxOptions options;
  std::vector<ModelBox> boxes;
  Turns ready, native_ready;
  std::deque<Letter> letters;
  std::vector<AgentId> credited;
  std::vector<uint32_t> starved, parked;
  uint64_t letter_count = 0;
  uint64_t accepted = 0, handled = 0, expired = 0, cancelled = 0, dead = 0, queued = 0, resent = 0;
  uint64_t in_hand = 0;  // the message that a native handler looks at still has its slot
  std::shared_ptr<uint64_t> bytes = std::make_shared<uint64_t>(0);

  static bool answers(MessageKind kind) {
    return kind == MessageKind::reply || kind == MessageKind::failure ||
           kind == MessageKind::cancellation;
  }
  static uint32_t with_reserve(uint32_t limit, MessageKind kind) {
    return answers(kind) ? limit + std::max(1u, limit / 8) : limit;
  }
  uint32_t capacity(const ModelBox& box, MessageKind kind) const {
    const uint32_t own = box.rules.capacity_messages;
    return with_reserve(own != 0 ? own : options.box_capacity_messages, kind);
  }
  Charge charged(size_t size) {
    if (*bytes + size > options.payload_bytes_max) return nullptr;
    *bytes += size;
    return Charge(bytes.get(), [total = bytes, size](void*) { *total -= size; });
  }

  void mark(uint32_t index) {
    ModelBox& box = boxes[index];
    bool& standing = box.native ? box.native_ready : box.ready;
    if (standing || box.paused || box.parked || box.count() == 0) return;
    standing = true;
    (box.native ? native_ready : ready).push(box.group, index);
  }
  void owe(uint32_t index) {
    ModelBox& box = boxes[index];
    if (box.rules.policy != BoxPolicy::credit || box.owed) return;
    box.owed = true;
    if (box.count() < capacity(box, MessageKind::data) / 2 + 1) starved.push_back(index);
  }
  void credit(uint32_t index) {
    boxes[index].owed = false;
    credited.push_back(agent(index));
  }
  void credit_starved() {
    if (queued + in_hand > options.message_count_max / 2 || *bytes > options.payload_bytes_max / 2)
      return;
    for (const uint32_t index : starved)
      if (boxes[index].owed) credit(index);
    starved.clear();
  }

  void bury(const Entry& entry, Outcome reason) {
    letters.push_back({letter_count++, entry, reason, false});
    if (letters.size() > 1024) letters.pop_front();
    const auto held = [&] {
      uint64_t sum = 0;
      for (const Letter& letter : letters)
        if (letter.entry.charge) sum += letter.entry.payload.size();
      return sum;
    };
    for (Letter& letter : letters) {
      if (held() <= options.payload_bytes_max / 8) break;
      if (!letter.entry.charge) continue;
      letter.cut = true;
      letter.entry.payload.resize(64);
      letter.entry.charge = nullptr;
    }
  }

  // `charge`: of a payload that comes by reference.
  Outcome send(const MessageHeader& header, const std::vector<uint8_t>& payload,
               Charge charge = nullptr) {
    if (payload.size() > options.payload_size_bytes_max) return Outcome::too_large;
    if (index_of(header.to) >= boxes.size()) return Outcome::unknown;
    const uint32_t index = index_of(header.to);
    ModelBox& box = boxes[index];
    if (box.closed) return Outcome::revoked;
    std::deque<Entry>& lane = box.lanes[header.lane];
    const bool work = !answers(header.kind);
    Entry entry{header, payload, charge, 0, false};
    entry.keyed = work && box.rules.policy == BoxPolicy::coalesce && header.key != 0;

    const auto same = std::find_if(lane.begin(), lane.end(), [&](const Entry& other) {
      return entry.keyed && other.keyed && other.header.key == header.key;
    });
    const bool room = lane.size() < capacity(box, header.kind) &&
                      queued + in_hand < with_reserve(options.message_count_max, header.kind);
    const auto oldest = std::find_if(
        lane.begin(), lane.end(), [](const Entry& other) { return !answers(other.header.kind); });
    const bool drops_newest = work && box.rules.policy == BoxPolicy::drop_newest;
    const bool drops_oldest =
        work && box.rules.policy == BoxPolicy::drop_oldest && oldest != lane.end();
    const bool fits = same != lane.end() || room || drops_newest || drops_oldest;
    if (fits && payload.size() > 64 && !charge) entry.charge = charged(payload.size());
    if (!fits || (payload.size() > 64 && !entry.charge)) {
      owe(index);
      return Outcome::full;
    }

    ++accepted;
    if (same != lane.end()) {
      entry.sequence = same->sequence;
      ++dead;
      bury(*same, Outcome::coalesced);
      *same = entry;
      return Outcome::ok;
    }
    if (!room && drops_newest) {
      ++dead;
      bury(entry, Outcome::dropped);
      return Outcome::dropped;
    }
    if (!room) {
      const Entry dropped = *oldest;
      lane.erase(oldest);
      left(index, header.lane);
      ++dead;
      bury(dropped, Outcome::dropped);
    }
    entry.sequence = box.next[header.lane]++;
    lane.push_back(entry);
    ++queued;
    mark(index);
    return Outcome::ok;
  }

  // A message has just been taken out of a lane.
  void left(uint32_t index, uint8_t lane) {
    ModelBox& box = boxes[index];
    --queued;
    if (box.lanes[lane].empty()) box.passed[lane] = 0;
    if (box.count() == box.lanes[0].size()) box.passed.fill(0);
    if (box.owed && box.count() * 2 < capacity(box, MessageKind::data)) credit(index);
  }
  uint8_t next_lane(ModelBox& box) {
    int chosen = lane_count - 1;
    while (box.lanes[size_t(chosen)].empty()) --chosen;
    for (int lane = 0; lane < chosen; ++lane)
      if (!box.lanes[size_t(lane)].empty() && box.passed[size_t(lane)] >= options.ageing_messages) {
        chosen = lane;
        break;
      }
    for (int lane = 0; lane < chosen; ++lane)
      if (!box.lanes[size_t(lane)].empty()) ++box.passed[size_t(lane)];
    box.passed[size_t(chosen)] = 0;
    return uint8_t(chosen);
  }
  bool take(uint32_t index, uint64_t now, std::vector<Entry>& out) {
    ModelBox& box = boxes[index];
    const uint8_t lane = next_lane(box);
    const Entry entry = box.lanes[lane].front();
    box.lanes[lane].pop_front();
    left(index, lane);
    const bool alive = entry.header.deadline_ns == 0 || now < entry.header.deadline_ns;
    ++(alive ? handled : expired);
    if (alive) out.push_back(entry);
    return alive;
  }

  void unpark() {
    for (const uint32_t index : parked) {
      boxes[index].parked = false;
      mark(index);
    }
    parked.clear();
  }

  // `then` is called after each message that is alive. `wanted`: which boxes are not left aside.
  template <class Then>
  void run(Turns& turns, bool native, size_t count_max, uint64_t now, uint32_t quantum,
           std::vector<Entry>& out, Then&& then, bool (*wanted)(uint32_t) = nullptr) {
    size_t count = 0;
    while (count < count_max && !turns.empty()) {
      const bool alone = turns.alone.has_value();
      uint32_t group = 0, index = 0;
      if (alone) {
        index = turns.alone->second;
        turns.alone.reset();
      } else {
        group = turns.groups.front();
        index = turns.boxes[group].front();
        turns.boxes[group].pop_front();
      }
      (native ? boxes[index].native_ready : boxes[index].ready) = false;
      uint32_t turn = 0;
      for (; turn < quantum && count < count_max; ++turn) {
        ModelBox& box = boxes[index];
        if (box.paused || box.parked || box.native != native || box.count() == 0) break;
        if (wanted && !wanted(index)) {
          box.parked = true;
          parked.push_back(index);
          break;
        }
        if (!take(index, now, out)) continue;
        ++count;
        then(out.back());
      }
      mark(index);
      if (!alone) end_turn(turns, group, turn);
    }
    credit_starved();
  }
  void end_turn(Turns& turns, uint32_t group, uint32_t turn) {
    turns.served += turn;
    const bool over = turns.served >= options.group_quantum_messages;
    if (turns.boxes[group].empty()) {
      turns.groups.pop_front();
      turns.served = 0;
    } else if (over) {
      turns.served = 0;
      turns.groups.push_back(turns.groups.front());
      turns.groups.pop_front();
    }
  }

  bool receive(uint32_t index, uint64_t now, std::vector<Entry>& out) {
    while (boxes[index].count() != 0)
      if (take(index, now, out)) {
        credit_starved();
        return true;
      }
    return false;
  }
  void close(uint32_t index) {
    ModelBox& box = boxes[index];
    box.closed = true;
    while (box.count() != 0) {
      const uint8_t lane = next_lane(box);
      const Entry entry = box.lanes[lane].front();
      box.lanes[lane].pop_front();
      left(index, lane);
      ++dead;
      bury(entry, Outcome::revoked);
    }
    if (box.owed) credit(index);
  }
  bool cancel(uint32_t index, uint64_t request) {
    ModelBox& box = boxes[index];
    for (uint8_t lane = 0; lane < lane_count; ++lane) {
      std::deque<Entry>& queue = box.lanes[lane];
      const auto found = std::find_if(queue.begin(), queue.end(), [&](const Entry& entry) {
        return entry.header.kind == MessageKind::request && entry.header.request == request;
      });
      if (found == queue.end()) continue;
      queue.erase(found);
      ++cancelled;
      left(index, lane);
      return true;
    }
    return false;
  }
  void set_rules(uint32_t index, const BoxOptions& rules) {
    ModelBox& box = boxes[index];
    if (rules.policy != BoxPolicy::coalesce)
      for (auto& lane : box.lanes)
        for (Entry& entry : lane) entry.keyed = false;
    if (rules.policy != BoxPolicy::credit && box.owed) credit(index);
    box.rules = rules;
  }
  Outcome resend(uint64_t number) {
    const auto with_number = [&] {
      return std::find_if(letters.begin(), letters.end(),
                          [&](const Letter& letter) { return letter.number == number; });
    };
    const auto found = with_number();
    if (found == letters.end()) return Outcome::unknown;
    if (found->cut) return Outcome::too_large;
    Entry again = found->entry;
    again.header.deadline_ns = 0;
    const Outcome outcome = send(again.header, again.payload, again.charge);
    if (outcome != Outcome::ok && outcome != Outcome::dropped) return outcome;
    ++resent;
    const auto sent = with_number();
    if (sent != letters.end()) letters.erase(sent);
    return outcome;
  }
};

}  // namespace hanse
