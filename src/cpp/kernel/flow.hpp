// The flow plane's own view of the population: the mailboxes, and beside them what `send` must know
// of each agent without asking the record plane: alive or not, and its group for the policy bit.
//
// The view belongs to the thread that owns the mailboxes. Any other thread is admitted by the
// record plane itself, under the writer's mutex, and then enters by the ring.
#pragma once

#include <vector>

#include "agent/agent.hpp"
#include "mailbox/mailbox.hpp"

namespace hanse {

class Flow {
 public:
  explicit Flow(const MailboxOptions& options) : mailboxes(options), bits_(bit_count) {}

  // Brings the view up to date: the caller owns the mailboxes and holds the writer's mutex.
  // `version` is what the record plane had then; it is bumped by every change of agents or policy.
  void sync(const AgentTable& agents, uint64_t policy_epoch, uint64_t version);
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

  MailboxTable mailboxes;

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
  std::vector<Bit> bits_;         // direct-mapped
  uint64_t revocation_epoch_ = 0, policy_epoch_ = UINT64_MAX, version_ = 0;
};

}  // namespace hanse
