// The topics and consumer groups of several tables: who subscribed, wherever they are. As the
// functions of MailboxTable of the same names; the caller has checked that the agents exist. One
// thread at a time.
#pragma once

#include "base/error.hpp"
#include "mailbox/consumer_groups.hpp"
#include "mailbox/topics.hpp"

namespace hanse {

class TopicDirectory {
 public:
  TopicDirectory(uint32_t topic_count_max, uint32_t subscription_count_max)
      : topics_(topic_count_max, subscription_count_max),
        consumer_groups_(subscription_count_max) {}

  bool subscribe(AgentId agent, uint64_t topic) { return topics_.subscribe(agent, topic); }
  bool subscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits) {
    check_bits(bits);
    return topics_.subscribe_prefix(agent, prefix, bits);
  }
  bool unsubscribe(AgentId agent, uint64_t topic) { return topics_.unsubscribe(agent, topic); }
  bool unsubscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits) {
    check_bits(bits);
    return topics_.unsubscribe_prefix(agent, prefix, bits);
  }
  bool join_group(AgentId agent, uint64_t topic, uint64_t group) {
    return consumer_groups_.join(agent, topic, group);
  }
  bool leave_group(AgentId agent, uint64_t topic, uint64_t group) {
    return consumer_groups_.leave(agent, topic, group);
  }
  // Whatever brought it there.
  void remove(AgentId agent, uint64_t topic) { topics_.remove(agent, topic); }
  std::span<const AgentId> subscribers(uint64_t topic) { return topics_.subscribers(topic); }
  ConsumerGroups& consumer_groups() { return consumer_groups_; }

 private:
  static void check_bits(uint32_t bits) {
    if (bits > 64) throw Error(ErrorCode::out_of_range, "bits", bits, 64);
  }

  Topics topics_;
  ConsumerGroups consumer_groups_;
};

}  // namespace hanse
