// Who subscribed to what. Prefixes are resolved when they are subscribed to and when a topic is
// first seen, so that a publication reads one list.
#pragma once

#include <map>
#include <vector>

#include "base/hash_map.hpp"
#include "base/ids.hpp"
#include "base/view.hpp"

namespace hanse {

// Agents, each with how often it is meant. An agent that leaves is replaced by the last one.
class SubscriberSet {
 public:
  static constexpr uint32_t direct = 1u << 31;  // subscribed to the topic itself

  std::span<const AgentId> agents() const { return agents_; }
  size_t count() const { return agents_.size(); }
  uint32_t ways(AgentId agent) const;           // 0: not in it
  bool add(AgentId agent, uint32_t way);        // true: it is new
  bool take_away(AgentId agent, uint32_t way);  // true: it has left
  bool remove(AgentId agent);                   // false: was not in it
  uint64_t memory_bytes() const {
    return agents_.capacity() * (sizeof(AgentId) + sizeof(uint32_t)) + places_.memory_bytes();
  }

 private:
  static constexpr size_t searched_max = 8;  // up to so many are found by looking at each

  uint32_t find(AgentId agent) const;
  void remove_at(uint32_t place);

  std::vector<AgentId> agents_;
  std::vector<uint32_t> ways_;
  HashMap places_;  // empty while there are few
};

// Throws quota_exceeded where a limit would be passed; then nothing has changed.
class Topics {
 public:
  Topics(uint32_t topic_count_max, uint32_t subscription_count_max)
      : topic_count_max_(topic_count_max), subscription_count_max_(subscription_count_max) {}

  bool subscribe(AgentId agent, uint64_t topic);
  bool subscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits);
  bool unsubscribe(AgentId agent, uint64_t topic);
  bool unsubscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits);
  void unsubscribe_all(AgentId agent);
  // An agent that has gone loses its place in this topic, whatever brought it there.
  void remove(AgentId agent, uint64_t topic);
  // Valid until the next call that is not const.
  std::span<const AgentId> subscribers(uint64_t topic);

  size_t topic_count() const { return topics_.size(); }
  uint64_t subscription_count() const { return subscription_count_; }

 private:
  struct Prefix {
    uint32_t bits;
    uint64_t value;  // the other bits are 0
    auto operator<=>(const Prefix&) const = default;
  };
  static uint64_t cut(uint64_t topic, uint32_t bits) {
    return bits == 0 ? 0 : topic & (UINT64_MAX << (64 - bits));
  }

  SubscriberSet* find(uint64_t topic);
  SubscriberSet& make(uint64_t topic);
  void gather(uint64_t topic, SubscriberSet& into);
  uint64_t reached(uint64_t topic) const;
  void check_room(uint64_t more) const;
  void drop_if_empty(uint64_t topic);
  template <class Visit>
  void each_topic(const Prefix& prefix, Visit&& visit);

  const uint64_t topic_count_max_, subscription_count_max_;
  uint64_t subscription_count_ = 0;  // of topics and prefixes together
  // In order, so that the topics of a prefix lie together.
  std::map<uint64_t, SubscriberSet> topics_;
  // The last one found: publications come in runs.
  uint64_t last_topic_ = 0;
  SubscriberSet* last_ = nullptr;
  std::map<Prefix, SubscriberSet> prefixes_;
  uint32_t prefix_counts_[65] = {};  // by bits
  SubscriberSet passing_;            // of a topic that there is no room to keep
};

}  // namespace hanse
