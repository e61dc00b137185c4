// The flow plane: the mailboxes of all shards, and beside them what `send` must know of each agent
// without asking the record plane: alive or not, and its group for the policy bit.
//
// Each shard has a view of its own, which belongs to the thread that drives the shard. Any other
// thread is admitted by the record plane itself, under the writer's mutex, and then enters by the
// ring of the receiver's table.
#pragma once

#include <vector>

#include "agent/agent.hpp"
#include "mailbox/mailbox.hpp"
#include "mailbox/shards.hpp"

namespace hanse {

class FlowView {
 public:
  // Brings the view up to date: the caller owns the table and holds the writer's mutex. `version`
  // is what the record plane had then; it is bumped by every change of agents or policy.
  void sync(const AgentTable& agents, uint64_t policy_epoch, uint64_t version, MailboxTable& table);
  uint64_t version() const { return version_; }

  // unknown, revoked, denied or ok, before the box is looked at. Owner thread.
  // allowed(sender group, receiver group) is asked once a pair of groups and policy epoch.
  template <class Allowed>
  Outcome admit(AgentId sender, AgentId to, Allowed&& allowed) {
    const uint32_t from = index_of(sender), at = index_of(to);
    if (at >= groups_.size() || generation_of(to) != 1 || from >= groups_.size()) [[unlikely]]
      return Outcome::unknown;
    const uint32_t sender_group = groups_[from], receiver_group = groups_[at];
    if (sender_group >= paused || receiver_group >= paused) [[unlikely]]
      return sender_group == revoked || receiver_group == revoked ? Outcome::revoked
                                                                  : Outcome::paused;
    const uint64_t pair = uint64_t(sender_group) << 32 | receiver_group;
    Bit& bit = bits_[(pair * 0x9e3779b97f4a7c15) >> 52];
    if (bit.pair != pair) [[unlikely]]
      bit = {pair, allowed(sender_group, receiver_group)};
    return bit.allowed ? Outcome::ok : Outcome::denied;
  }

  // The same for each row whose outcome is ok. Agents come in blocks of one parent, so that most
  // rows are answered by what holds for a whole block, in a table that stays in the cache.
  template <class Allowed>
  void admit_many(AgentId sender, std::span<const AgentId> to, std::span<Outcome> outcomes_in_out,
                  Allowed&& allowed) {
    uint32_t passing = block_mixed;  // the group that the last row passed by
    for (size_t i = 0; i < to.size(); ++i) {
      const uint32_t at = index_of(to[i]);
      const bool known = at < groups_.size() && generation_of(to[i]) == 1;
      const uint32_t block = known ? blocks_[at >> block_bits] : block_mixed;
      if (block == passing && block != block_mixed) [[likely]]
        continue;
      if (outcomes_in_out[i] != Outcome::ok) continue;
      outcomes_in_out[i] = admit(sender, to[i], allowed);
      if (outcomes_in_out[i] == Outcome::ok) passing = block;
    }
  }

 private:
  static constexpr uint32_t block_bits = 10;
  static constexpr uint32_t block_mixed = UINT32_MAX;  // as `revoked`: no one there passes

  static constexpr size_t bit_count = 4096;  // the shift by 52 above
  struct Bit {
    uint64_t pair = UINT64_MAX;
    bool allowed = false;
  };
  // The parent of each agent (the root's is itself), or what stops it: one line of memory an
  // address.
  static constexpr uint32_t revoked = UINT32_MAX, paused = UINT32_MAX - 1;
  std::vector<uint32_t> groups_;
  std::vector<uint32_t> blocks_;  // the group of all agents of a block, if all are alive and of one
  std::vector<Bit> bits_ = std::vector<Bit>(bit_count);  // direct-mapped
  uint64_t revocation_epoch_ = 0, policy_epoch_ = UINT64_MAX, version_ = 0;
};

class Flow {
 public:
  // One shard is a table alone, without any of what several need.
  explicit Flow(const ShardOptions& options);

  // The shard that the calling thread drives; index_none: it is none's.
  uint32_t here() const {
    if (shards) return shards->driven_here();
    return mailboxes.owned_by_caller() ? 0 : index_none;
  }
  // All tables have a box for each agent. The writer's mutex is held.
  void grow(const AgentTable& agents);
  // What was admitted. `here` as above.
  Outcome send(uint32_t here, const MessageHeader& header, Bytes payload);
  Outcome send_payload(uint32_t here, const MessageHeader& header, Payload&& payload);
  void send_many(uint32_t here, const MessageHeader& header, std::span<const AgentId> to,
                 MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                 std::span<Outcome> outcomes_in_out);
  uint64_t memory_bytes() const {
    return shards ? shards->memory_bytes() : mailboxes.memory_bytes();
  }
  bool elsewhere(AgentId agent) const { return shards && shards->shard_of(agent) != 0; }

  const std::unique_ptr<Shards> shards;  // null: one shard
 private:
  const std::unique_ptr<MailboxTable> alone_;

 public:
  MailboxTable& mailboxes;      // of shard 0, whose thread drains, receives and runs the kernel
  std::vector<FlowView> views;  // by shard
};

}  // namespace hanse
