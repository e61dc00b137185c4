// Who shares the work of a topic: of each group, one member gets each message.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/outcome.hpp"
#include "base/view.hpp"

namespace hanse {

class ConsumerGroups {
 public:
  explicit ConsumerGroups(uint64_t member_count_max) : member_count_max_(member_count_max) {}

  // False: was a member already. Throws quota_exceeded.
  bool join(AgentId agent, uint64_t topic, uint64_t group);
  bool leave(AgentId agent, uint64_t topic, uint64_t group);  // false: was no member
  // In the order of their turns; the one at the front is next. Valid until the next call.
  std::span<const AgentId> members(uint64_t topic, uint64_t group);

  // One outcome a group of the topic, by its number. Members take turns; one that refuses is passed
  // over for this message: ok, or why the last one asked refused. offer(agent) -> Outcome; where it
  // is revoked or closed gone(agent) is asked, and whoever is gone is no member any more. They must
  // not join or leave.
  template <class Offer, class Gone>
  void offer_to_each(uint64_t topic, std::vector<Outcome>& outcomes_out, Offer&& offer,
                     Gone&& gone) {
    for (auto at = groups_.lower_bound({topic, 0});
         at != groups_.end() && at->first.first == topic;)
      outcomes_out.push_back(offer_to_one((at++)->first, offer, gone));
  }
  uint64_t member_count() const { return member_count_; }

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // topic, group
  struct Group {
    std::vector<AgentId> members;
    size_t next = 0;
  };

  template <class Offer, class Gone>
  Outcome offer_to_one(const Key key, Offer& offer, Gone& gone) {
    Group& group = groups_.at(key);
    Outcome outcome = Outcome::unknown;
    std::vector<AgentId> leaving;
    for (size_t tried = 0; tried < group.members.size(); ++tried) {
      const size_t at = (group.next + tried) % group.members.size();
      outcome = offer(group.members[at]);
      const bool refused = outcome == Outcome::revoked || outcome == Outcome::closed;
      if (refused && gone(group.members[at])) leaving.push_back(group.members[at]);
      if (outcome != Outcome::ok && outcome != Outcome::dropped) continue;
      group.next = (at + 1) % group.members.size();
      break;
    }
    for (const AgentId agent : leaving) leave(agent, key.first, key.second);
    return outcome;
  }

  const uint64_t member_count_max_;
  uint64_t member_count_ = 0;
  std::map<Key, Group> groups_;
  std::vector<AgentId> in_turn_;
};

}  // namespace hanse
