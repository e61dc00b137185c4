// Topics: who may get what is published, on any number of shards.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

namespace {

void admit_all(Kernel::Inner& in, uint32_t here, AgentId sender,
               std::span<const AgentId> subscribers, std::vector<Outcome>& outcomes_out) {
  outcomes_out.resize(subscribers.size());
  for (size_t i = 0; i < subscribers.size(); ++i)
    outcomes_out[i] = in.admit(here, sender, subscribers[i]);
}

// send(member) -> an outcome, for each member whose turn it is.
template <class Send>
size_t offer_to_groups(Kernel::Inner& in, uint32_t here, ConsumerGroups& consumer_groups,
                       uint64_t topic, AgentId sender, std::vector<Outcome>& groups_out,
                       Send&& send) {
  groups_out.clear();
  const auto offer = [&](AgentId member) {
    const Outcome admitted = in.admit(here, sender, member);
    return admitted == Outcome::ok ? send(member) : admitted;
  };
  // Not so where it is the sender that was revoked.
  const auto gone = [&](AgentId member) {
    return in.admit(here, member, member) == Outcome::revoked;
  };
  consumer_groups.offer_to_each(topic, groups_out, offer, gone);
  return size_t(std::count(groups_out.begin(), groups_out.end(), Outcome::ok));
}

// From the thread of any shard: a thread that drives none takes shard 0, as it does by draining.
size_t publish_on_shards(Kernel::Inner& in, uint64_t topic, const MessageHeader& header,
                         const Payload& payload, std::vector<Outcome>& outcomes_out,
                         std::vector<Outcome>& groups_out) {
  Shards& shards = *in.flow->shards;
  uint32_t here = shards.driven_here();
  if (here == index_none) {
    in.flow->mailboxes.own();
    here = 0;
  }
  in.sync_flow(here);
  const std::vector<AgentId> to = shards.at_topics([topic](TopicDirectory& topics) {
    const std::span<const AgentId> all = topics.subscribers(topic);
    return std::vector<AgentId>(all.begin(), all.end());
  });
  admit_all(in, here, header.sender, to, outcomes_out);
  std::vector<AgentId> gone;
  for (size_t i = 0; i < to.size(); ++i)
    if (outcomes_out[i] == Outcome::revoked && in.admit(here, to[i], to[i]) == Outcome::revoked)
      gone.push_back(to[i]);
  const size_t taken = shards.publish_to(here, header, to, payload, outcomes_out);
  shards.count_publication();
  return taken + shards.at_topics([&](TopicDirectory& topics) {
    for (const AgentId agent : gone) topics.remove(agent, topic);
    return offer_to_groups(in, here, topics.consumer_groups(), topic, header.sender, groups_out,
                           [&](AgentId member) {
                             MessageHeader one = header;
                             one.to = member;
                             return shards.send_payload(here, one, Payload(payload));
                           });
  });
}

// There is no memory for the payload.
size_t refuse_all(Shards& shards, uint64_t topic, std::vector<Outcome>& outcomes_out,
                  std::vector<Outcome>& groups_out) {
  groups_out.clear();
  shards.at_topics([&](TopicDirectory& topics) {
    outcomes_out.assign(topics.subscribers(topic).size(), Outcome::full);
    topics.consumer_groups().offer_to_each(
        topic, groups_out, [](AgentId) { return Outcome::full; }, [](AgentId) { return false; });
  });
  return 0;
}

}  // namespace

size_t Kernel::publish(uint64_t topic, const MessageHeader& header, Bytes payload,
                       std::vector<Outcome>& outcomes_out, std::vector<Outcome>& groups_out) {
  Inner& in = *inner_;
  in.check_open();
  MailboxTable& mailboxes = in.flow->mailboxes;
  if (in.flow->shards) {
    Payload shared = mailboxes.loan(payload.size());
    if (!shared) return refuse_all(*in.flow->shards, topic, outcomes_out, groups_out);
    if (!payload.empty()) std::memcpy(shared.writable(), payload.data(), payload.size());
    return publish_on_shards(in, topic, header, shared, outcomes_out, groups_out);
  }
  mailboxes.own();
  in.sync_flow(0);
  admit_all(in, 0, header.sender, mailboxes.subscribers(topic), outcomes_out);
  const size_t taken = mailboxes.publish(topic, header, payload, outcomes_out);
  return taken + offer_to_groups(in, 0, mailboxes.consumer_groups(), topic, header.sender,
                                 groups_out, [&](AgentId member) {
                                   MessageHeader one = header;
                                   one.to = member;
                                   return mailboxes.send(one, payload);
                                 });
}

size_t Kernel::publish(uint64_t topic, const MessageHeader& header, const Payload& payload,
                       std::vector<Outcome>& outcomes_out, std::vector<Outcome>& groups_out) {
  Inner& in = *inner_;
  in.check_open();
  if (in.flow->shards)
    return publish_on_shards(in, topic, header, payload, outcomes_out, groups_out);
  MailboxTable& mailboxes = in.flow->mailboxes;
  mailboxes.own();
  in.sync_flow(0);
  admit_all(in, 0, header.sender, mailboxes.subscribers(topic), outcomes_out);
  const size_t taken = mailboxes.publish_payload(topic, header, payload, outcomes_out);
  return taken + offer_to_groups(in, 0, mailboxes.consumer_groups(), topic, header.sender,
                                 groups_out, [&](AgentId member) {
                                   MessageHeader one = header;
                                   one.to = member;
                                   return mailboxes.send_payload(one, Payload(payload));
                                 });
}

}  // namespace hanse
