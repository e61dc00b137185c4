#include "mailbox/topics.hpp"

#include "base/error.hpp"
#include "base/random.hpp"

namespace hanse {

uint32_t SubscriberSet::find(AgentId agent) const {
  if (agents_.size() > searched_max)
    return places_.find(mix64(agent), [&](uint32_t place) { return agents_[place] == agent; });
  for (uint32_t place = 0; place < agents_.size(); ++place)
    if (agents_[place] == agent) return place;
  return index_none;
}

uint32_t SubscriberSet::ways(AgentId agent) const {
  const uint32_t place = find(agent);
  return place == index_none ? 0 : ways_[place];
}

bool SubscriberSet::add(AgentId agent, uint32_t way) {
  const uint32_t place = find(agent);
  if (place != index_none) {
    ways_[place] += way;
    return false;
  }
  agents_.push_back(agent);
  ways_.push_back(way);
  if (agents_.size() == searched_max + 1)
    for (uint32_t i = 0; i < searched_max; ++i) places_.insert(mix64(agents_[i]), i);
  if (agents_.size() > searched_max) places_.insert(mix64(agent), uint32_t(agents_.size() - 1));
  return true;
}

bool SubscriberSet::take_away(AgentId agent, uint32_t way) {
  const uint32_t place = find(agent);
  if (place == index_none) return false;
  ways_[place] -= way;
  if (ways_[place] != 0) return false;
  remove_at(place);
  return true;
}

bool SubscriberSet::remove(AgentId agent) {
  const uint32_t place = find(agent);
  if (place != index_none) remove_at(place);
  return place != index_none;
}

void SubscriberSet::remove_at(uint32_t place) {
  const auto last = uint32_t(agents_.size() - 1);
  if (agents_.size() > searched_max) {
    places_.erase(mix64(agents_[place]), place);
    if (place != last) {
      places_.erase(mix64(agents_[last]), last);
      places_.insert(mix64(agents_[last]), place);
    }
  }
  agents_[place] = agents_[last];
  ways_[place] = ways_[last];
  agents_.pop_back();
  ways_.pop_back();
  if (agents_.size() == searched_max) places_ = HashMap();
}

void Topics::check_room(uint64_t more) const {
  if (subscription_count_ + more > subscription_count_max_)
    throw Error(ErrorCode::quota_exceeded, "subscriptions", subscription_count_ + more,
                subscription_count_max_);
}

SubscriberSet* Topics::find(uint64_t topic) {
  if (last_ && last_topic_ == topic) return last_;
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return nullptr;
  last_topic_ = topic;
  last_ = &found->second;
  return last_;
}

// How many subscriptions by prefix reach a topic, agents counted once a prefix.
uint64_t Topics::reached(uint64_t topic) const {
  uint64_t count = 0;
  for (uint32_t bits = 0; bits <= 64; ++bits) {
    if (prefix_counts_[bits] == 0) continue;
    const auto found = prefixes_.find({bits, cut(topic, bits)});
    if (found != prefixes_.end()) count += found->second.count();
  }
  return count;
}

void Topics::gather(uint64_t topic, SubscriberSet& into) {
  for (uint32_t bits = 0; bits <= 64; ++bits) {
    if (prefix_counts_[bits] == 0) continue;
    const auto found = prefixes_.find({bits, cut(topic, bits)});
    if (found == prefixes_.end()) continue;
    for (const AgentId agent : found->second.agents()) into.add(agent, 1);
  }
}

// The caller has checked that there is room.
SubscriberSet& Topics::make(uint64_t topic) {
  SubscriberSet& made = topics_[topic];
  gather(topic, made);
  subscription_count_ += made.count();
  last_topic_ = topic;
  last_ = &made;
  return made;
}

void Topics::drop_if_empty(uint64_t topic) {
  const auto found = topics_.find(topic);
  if (found == topics_.end() || found->second.count() != 0) return;
  topics_.erase(found);
  last_ = nullptr;
}

template <class Visit>
void Topics::each_topic(const Prefix& prefix, Visit&& visit) {
  const uint64_t rest = prefix.bits == 0    ? UINT64_MAX
                        : prefix.bits == 64 ? 0
                                            : UINT64_MAX >> prefix.bits;
  const auto end = topics_.upper_bound(prefix.value | rest);
  for (auto at = topics_.lower_bound(prefix.value); at != end;) {
    const auto here = at++;
    visit(here->first, here->second);
  }
}

bool Topics::subscribe(AgentId agent, uint64_t topic) {
  SubscriberSet* set = find(topic);
  if (set && (set->ways(agent) & SubscriberSet::direct)) return false;
  if (!set && topics_.size() >= topic_count_max_)
    throw Error(ErrorCode::quota_exceeded, "topics", topics_.size() + 1, topic_count_max_);
  check_room(1 + (set ? 0 : reached(topic)));
  if (!set) set = &make(topic);
  if (set->add(agent, SubscriberSet::direct)) ++subscription_count_;
  return true;
}

bool Topics::subscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits) {
  const Prefix wanted{bits, cut(prefix, bits)};
  const auto known = prefixes_.find(wanted);
  if (known != prefixes_.end() && known->second.ways(agent) != 0) return false;
  uint64_t more = 1;
  each_topic(wanted, [&](uint64_t, SubscriberSet& set) { more += set.ways(agent) == 0; });
  check_room(more);

  if (known == prefixes_.end()) ++prefix_counts_[bits];
  prefixes_[wanted].add(agent, 1);
  each_topic(wanted, [&](uint64_t, SubscriberSet& set) { set.add(agent, 1); });
  subscription_count_ += more;
  return true;
}

bool Topics::unsubscribe(AgentId agent, uint64_t topic) {
  SubscriberSet* set = find(topic);
  if (!set || !(set->ways(agent) & SubscriberSet::direct)) return false;
  if (set->take_away(agent, SubscriberSet::direct)) --subscription_count_;
  drop_if_empty(topic);
  return true;
}

bool Topics::unsubscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits) {
  const Prefix wanted{bits, cut(prefix, bits)};
  const auto known = prefixes_.find(wanted);
  if (known == prefixes_.end() || !known->second.remove(agent)) return false;
  --subscription_count_;
  if (known->second.count() == 0) {
    prefixes_.erase(known);
    --prefix_counts_[bits];
  }
  each_topic(wanted, [&](uint64_t topic, SubscriberSet& set) {
    // It may have been removed for good before.
    if ((set.ways(agent) & ~SubscriberSet::direct) == 0) return;
    if (set.take_away(agent, 1)) --subscription_count_;
    drop_if_empty(topic);
  });
  return true;
}

void Topics::unsubscribe_all(AgentId agent) {
  for (auto at = prefixes_.begin(); at != prefixes_.end();) {
    const auto here = at++;
    if (!here->second.remove(agent)) continue;
    --subscription_count_;
    if (here->second.count() != 0) continue;
    --prefix_counts_[here->first.bits];
    prefixes_.erase(here);
  }
  each_topic({0, 0}, [&](uint64_t topic, SubscriberSet& set) {
    if (set.remove(agent)) --subscription_count_;
    drop_if_empty(topic);
  });
}

void Topics::remove(AgentId agent, uint64_t topic) {
  SubscriberSet* set = find(topic);
  if (set && set->remove(agent)) --subscription_count_;
  if (set) drop_if_empty(topic);
}

std::span<const AgentId> Topics::subscribers(uint64_t topic) {
  if (const SubscriberSet* set = find(topic)) return set->agents();
  const uint64_t count = prefixes_.empty() ? 0 : reached(topic);
  if (count == 0) return {};
  // A publisher must not be able to fill the table with topics: beyond the limits one is resolved
  // each time.
  if (topics_.size() < topic_count_max_ && subscription_count_ + count <= subscription_count_max_)
    return make(topic).agents();
  passing_ = SubscriberSet();
  gather(topic, passing_);
  return passing_.agents();
}

}  // namespace hanse
