// Who is accountable: agents, humans, groups and tools, in one tree that only narrows.
//
// Part of the record plane: checks are const, changes are applied from records and cannot fail
// after their check. One thread at a time (the writer).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/chunked_hash.hpp"
#include "base/hash_map.hpp"
#include "base/ids.hpp"
#include "base/snapshot.hpp"

namespace hanse {

enum class AgentKind : uint8_t { agent = 0, human = 1, group = 2, tool = 3 };

constexpr uint32_t delegation_depth_max = 16;
constexpr uint64_t permissions_all = UINT64_MAX;   // in an `add`: as the parent
constexpr uint64_t budget_unlimited = UINT64_MAX;  // in an `add`: as the parent
constexpr uint32_t agents_per_add_max = 1u << 24;
constexpr uint32_t agent_name_size_max = 256;

// What one `add` record says. `count` agents alike; names empty, or one for each (an empty one:
// unnamed).
struct AgentsAdded {
  AgentId parent = id_none;
  AgentKind kind = AgentKind::agent;
  uint32_t count = 1;
  uint64_t permissions = permissions_all;  // else a subset of the parent's
  uint64_t budget_max = budget_unlimited;  // of one dispatch
  std::vector<std::string> names;
  std::vector<Digest> identities;  // hash of each genesis key; empty: none
};

struct AgentInfo {
  AgentId id = id_none;
  AgentId parent = id_none;  // none for the root
  AgentId tenant = id_none;
  AgentKind kind = AgentKind::agent;
  uint32_t depth = 0;
  uint64_t permissions = 0;
  uint64_t budget_max = 0;
  bool live = false;
  bool paused = false;     // it, or one above it
  uint32_t depth_max = 0;  // how deep the tree below it may go, counted from the root
  std::string name;
  std::optional<Digest> identity;
};

// A delegation that gets narrower. What is not said stays; descendants are narrowed with it.
struct AgentNarrowed {
  AgentId agent = id_none;
  uint64_t permissions = permissions_all;  // else a subset of what it has
  uint64_t budget_max = budget_unlimited;  // else at most what it has
  uint32_t levels = delegation_depth_max;  // of agents below it; at most what it may have
};

class AgentTable {
 public:
  // Index 0 is the root: the kernel's own group, the parent of all tenants.
  AgentTable();

  AgentId root() const { return make_id(0, 1); }
  uint32_t count() const { return uint32_t(parents_.size()); }
  // Throws unknown_agent.
  uint32_t index_checked(AgentId id) const;
  bool contains(AgentId id) const;
  AgentId id_at(uint32_t index) const { return make_id(index, 1); }

  // Throws unknown_agent, revoked, delegation_depth, attenuation_violation, name_taken (a name is
  // unique among the children of one parent), out_of_range (kind, count, table full, name over 256
  // bytes, names or identities neither none nor one for each).
  void check_add(const AgentsAdded& added) const;
  // Indices are consecutive from the returned one.
  uint32_t apply_add(const AgentsAdded& added);

  // Throws attenuation_violation where it would widen anything.
  void check_narrow(const AgentNarrowed& narrowed) const;
  void apply_narrow(uint32_t index, const AgentNarrowed& narrowed);

  // The agent goes, with all below it, under another parent of its tenant. Throws delegation_cycle,
  // delegation_depth, attenuation_violation (it has more than the new parent), name_taken, revoked,
  // not_permitted (another tenant).
  void check_move(uint32_t index, uint32_t parent) const;
  void apply_move(uint32_t index, uint32_t parent);

  // Revocation: the agent and every descendant cause no new effect. O(1): one epoch is bumped, and
  // `live` walks at most 16 parents the first time it is asked after that.
  // Revoking again changes nothing.
  void apply_revoke(uint32_t index);
  // Paused agents and those below them cause no new effect either, until resumed.
  void apply_pause(uint32_t index, bool paused);
  // Neither revoked nor paused.
  bool live(uint32_t index) const {
    const uint32_t cached = live_cache_[index];
    return cached >> 1 == live_stamp() ? (cached & 1) != 0 : live_uncached(index);
  }
  uint64_t epoch() const { return epoch_; }
  // The nearest revoked agent on the chain, or index_none.
  uint32_t revoked_ancestor(uint32_t index) const { return stopped_ancestor(index, revoked_bit); }
  uint32_t paused_ancestor(uint32_t index) const { return stopped_ancestor(index, paused_bit); }

  uint32_t parent(uint32_t index) const { return parents_[index]; }  // index_none for the root
  // The child of the root on the parent chain, where that is a group; else the root.
  uint32_t tenant(uint32_t index) const { return tenants_[index]; }
  AgentKind kind(uint32_t index) const { return kinds_[index]; }
  uint32_t depth(uint32_t index) const { return depths_[index]; }
  uint32_t depth_max(uint32_t index) const {
    return index < depth_max_.size() ? depth_max_[index] : delegation_depth_max;
  }
  uint64_t permissions(uint32_t index) const { return permissions_[index]; }
  uint64_t budget_max(uint32_t index) const { return budgets_[index]; }
  // `ancestor` is `index` itself or on its parent chain.
  bool within(uint32_t index, uint32_t ancestor) const;
  std::string_view name(uint32_t index) const;
  // The lowest index with that name, below `parent` (index_none: anywhere); index_none.
  uint32_t find(std::string_view name, uint32_t parent = index_none) const;
  AgentInfo info(uint32_t index) const;
  // nullptr: it was added without a key.
  const Digest* identity(uint32_t index) const {
    const bool known = index < identity_of_.size() && identity_of_[index] != index_none;
    return known ? &identities_[identity_of_[index]] : nullptr;
  }

  // The nearest group or human on the chain, or the agent itself below the root: who answers for
  // it. Two agents of one controller are one party.
  uint32_t controller(uint32_t index) const;

  Digest state_hash() const;
  static constexpr uint16_t snapshot_version = 1;
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);
  uint64_t memory_bytes() const;

 private:
  static constexpr uint8_t revoked_bit = 1, paused_bit = 2;
  uint32_t stopped_ancestor(uint32_t index, uint8_t bits) const;
  void bump_epoch();
  uint32_t deepest_below(uint32_t index) const;
  uint32_t live_stamp() const { return uint32_t(epoch_) & 0x7fffffff; }
  bool live_uncached(uint32_t index) const;
  void check_names(const AgentsAdded& added, uint32_t parent) const;
  void apply_name(uint32_t index, std::string name);

  std::vector<uint32_t> parents_, tenants_;
  std::vector<AgentKind> kinds_;
  std::vector<uint8_t> depths_, stopped_;
  std::vector<uint8_t> depth_max_;  // shorter than the table: delegation_depth_max beyond its end
  std::vector<uint64_t> permissions_, budgets_;
  // Stamp of the epoch at which it was computed, and the answer in the lowest bit. No epoch has
  // stamp 0.
  mutable std::vector<uint32_t> live_cache_;
  // Index into names_ and identities_, index_none where there is none; may be shorter than the
  // table, so that a million unnamed agents cost nothing here.
  std::vector<uint32_t> name_of_, identity_of_;
  std::vector<std::string> names_;
  std::vector<Digest> identities_;
  HashMap by_name_;  // the lowest index with that name
  HashMap by_parent_and_name_;
  uint64_t epoch_ = 1;
  mutable ChunkedHash hash_;
};

}  // namespace hanse
