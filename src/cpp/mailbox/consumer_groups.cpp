#include "mailbox/consumer_groups.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace hanse {

bool ConsumerGroups::join(AgentId agent, uint64_t topic, uint64_t group) {
  const auto known = groups_.find({topic, group});
  if (known != groups_.end() &&
      std::count(known->second.members.begin(), known->second.members.end(), agent) != 0)
    return false;
  if (member_count_ >= member_count_max_)
    throw Error(ErrorCode::quota_exceeded, "members", member_count_ + 1, member_count_max_);
  groups_[{topic, group}].members.push_back(agent);
  ++member_count_;
  return true;
}

bool ConsumerGroups::leave(AgentId agent, uint64_t topic, uint64_t group) {
  const auto known = groups_.find({topic, group});
  if (known == groups_.end()) return false;
  Group& of = known->second;
  const auto found = std::find(of.members.begin(), of.members.end(), agent);
  if (found == of.members.end()) return false;
  const auto place = size_t(found - of.members.begin());
  of.members.erase(found);
  if (place < of.next) --of.next;
  if (of.next == of.members.size()) of.next = 0;
  --member_count_;
  if (of.members.empty()) groups_.erase(known);
  return true;
}

std::span<const AgentId> ConsumerGroups::members(uint64_t topic, uint64_t group) {
  in_turn_.clear();
  const auto known = groups_.find({topic, group});
  if (known == groups_.end()) return in_turn_;
  in_turn_ = known->second.members;
  std::rotate(in_turn_.begin(), in_turn_.begin() + ptrdiff_t(known->second.next), in_turn_.end());
  return in_turn_;
}

}  // namespace hanse
