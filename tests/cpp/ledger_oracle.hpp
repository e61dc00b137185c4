// A second ledger, written apart from the first from the text of its contract: plain arrays, signed
// sums, undo by closures, no code in common.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "ledger/transfer.hpp"

namespace hanse::oracle {

using Said = TransferOutcome;
using Wide = __int128;

constexpr uint32_t agent_count = 24;
constexpr uint32_t fee_basis_points = 250;
constexpr Wide most = UINT64_MAX;

// The root, three tenants, six teams, workers.
constexpr uint32_t parent_of(uint32_t agent) {
  if (agent == 0) return index_none;
  if (agent < 4) return 0;
  return agent < 10 ? 1 + agent % 3 : 4 + agent % 6;
}

struct Purse {
  bool there = false, closed = false;
  bool debits_limited = true, credits_limited = false;
  Wide out = 0, out_pending = 0, in = 0, in_pending = 0;
};

struct Promise {
  uint32_t from = 0, to = 0;
  UnitId unit = 0;
  Wide amount = 0;
  uint64_t expires_ns = 0;
  uint16_t code = 0;
  bool closes_from = false, closes_to = false, fee = false;
  char state = 'o';  // open, posted, voided, expired, unknown
};

struct Ceiling {
  Wide limit = 0, used = 0, pending = 0;
};

struct Answer {
  Said said = Said::ok;
  Wide amount = 0;
  uint64_t hold = 0;
};

class Books {
 public:
  static constexpr size_t unit_count = 3;

  Purse& purse(UnitId unit, uint32_t agent) { return purses_[unit][agent]; }
  const Purse& purse(UnitId unit, uint32_t agent) const { return purses_[unit][agent]; }
  Wide fees(UnitId unit) const { return fees_[unit]; }
  Wide issued(UnitId unit) const { return issued_[unit]; }
  size_t hold_count() const { return promises_.size(); }
  const std::map<std::pair<uint32_t, UnitId>, Ceiling>& ceilings() const { return ceilings_; }

  Said fund(uint32_t agent, Wide amount, UnitId unit);
  void open(uint32_t agent, UnitId unit, bool debits_limited, bool credits_limited);
  void set_budget(uint32_t agent, UnitId unit, Wide limit);
  std::vector<Answer> run(const std::vector<Transfer>& batch, uint64_t now_ns, bool atomic);
  std::vector<uint64_t> expire(uint64_t now_ns, size_t limit);
  Said settle(uint64_t hold, int verdict, Wide amount, uint64_t now_ns);
  void forget(uint64_t now_ns);

 private:
  using Key = std::array<uint64_t, 3>;  // owner, high, low
  struct Used {
    bool failed = false;
    Transfer transfer;
    Answer answer;
  };
  struct Chain {
    bool failed = false;
    std::vector<Transfer> transfers;
    std::vector<Answer> answers;
  };

  Answer judge(const Transfer& t, uint64_t now_ns) const;
  Said judge_end(const Transfer& t, uint64_t now_ns, Wide& amount) const;
  Said compare(const Used& before, const Transfer& t) const;
  Answer one(const Transfer& t, uint64_t now_ns);
  void chain(const std::vector<Transfer>& batch, size_t first, size_t end, uint64_t now_ns,
             std::vector<Answer>& answers);
  bool chain_again(const std::vector<Transfer>& batch, size_t first, size_t end, uint64_t now_ns,
                   std::vector<Answer>& answers);
  void effect(const Transfer& t, Answer& answer);
  void finish(uint64_t hold, char state, Wide amount);
  std::vector<uint32_t> levels(uint32_t from, uint32_t to, UnitId unit) const;
  void count(uint32_t from, uint32_t to, UnitId unit, Wide Ceiling::* what, Wide amount);

  template <class T>
  void set(T& place, T value) {
    undo_.push_back([&place, old = place] { place = old; });
    place = value;
  }
  void take_back(size_t to) {
    for (; undo_.size() > to; undo_.pop_back()) undo_.back()();
  }

  std::array<std::array<Purse, agent_count>, unit_count> purses_;
  std::array<Wide, unit_count> fees_{}, issued_{};
  std::map<uint64_t, Promise> promises_;
  std::set<std::pair<uint64_t, uint64_t>> clock_;
  std::map<Key, Used> keys_;
  std::map<Key, Chain> chains_;
  std::map<std::pair<uint32_t, UnitId>, Ceiling> ceilings_;
  std::vector<std::function<void()>> undo_;
};

inline std::optional<uint32_t> agent_of(AgentId id) {
  if (generation_of(id) != 1 || index_of(id) >= agent_count) return std::nullopt;
  return index_of(id);
}

}  // namespace hanse::oracle
