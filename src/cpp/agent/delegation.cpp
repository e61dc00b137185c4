// Delegations that change after they were made: they narrow, or move as they are.
#include <algorithm>

#include "agent/agent.hpp"

namespace hanse {

namespace {

uint64_t parent_and_name(std::string_view name, uint32_t parent) {
  return hash_bytes({reinterpret_cast<const uint8_t*>(name.data()), name.size()}, parent);
}

}  // namespace

void AgentTable::check_narrow(const AgentNarrowed& narrowed) const {
  const uint32_t index = index_checked(narrowed.agent);
  if (narrowed.permissions != permissions_all && (narrowed.permissions & ~permissions_[index]) != 0)
    throw Error(ErrorCode::attenuation_violation, "permissions",
                "bits " + std::to_string(narrowed.permissions & ~permissions_[index]) +
                    " are not the agent's, which has " + std::to_string(permissions_[index]),
                narrowed.agent);
  if (narrowed.budget_max != budget_unlimited && narrowed.budget_max > budgets_[index])
    throw Error(ErrorCode::attenuation_violation, "budget_max", narrowed.budget_max,
                budgets_[index], narrowed.agent);
  const uint32_t levels = depth_max(index) - depths_[index];
  if (narrowed.levels != delegation_depth_max && narrowed.levels > levels)
    throw Error(ErrorCode::attenuation_violation, "levels", narrowed.levels, levels,
                narrowed.agent);
  // Those who are there already stay; the limit can't be put above their heads.
  if (narrowed.levels < levels && depths_[index] + narrowed.levels < deepest_below(index))
    throw Error(ErrorCode::delegation_depth, "levels", deepest_below(index) - depths_[index],
                narrowed.levels, narrowed.agent);
}

uint32_t AgentTable::deepest_below(uint32_t index) const {
  uint32_t deepest = depths_[index];
  for (uint32_t i = 0; i < count(); ++i)
    if (depths_[i] > deepest && within(i, index)) deepest = depths_[i];
  return deepest;
}

void AgentTable::apply_narrow(uint32_t index, const AgentNarrowed& narrowed) {
  const uint32_t deepest = std::min(depths_[index] + narrowed.levels, depth_max(index));
  if (deepest != delegation_depth_max) depth_max_.resize(count(), uint8_t(delegation_depth_max));
  for (uint32_t i = 0; i < count(); ++i) {
    if (!within(i, index)) continue;
    permissions_[i] &= narrowed.permissions;
    budgets_[i] = std::min(budgets_[i], narrowed.budget_max);
    if (i < depth_max_.size()) depth_max_[i] = std::min(depth_max_[i], uint8_t(deepest));
    hash_.mark(i);
  }
}

void AgentTable::check_move(uint32_t index, uint32_t parent) const {
  const AgentId id = id_at(index);
  if (within(parent, index))
    throw Error(ErrorCode::delegation_cycle, "parent",
                "agent " + std::to_string(id_at(parent)) + " is the agent or below it", id);
  if (!live(parent))
    throw Error(ErrorCode::revoked, "parent", "it or one of its parents was revoked",
                id_at(parent));
  if (index == tenants_[index] || tenants_[index] != tenants_[parent])
    throw Error(ErrorCode::not_permitted, "parent", "an agent's tenant is fixed", id);
  const uint32_t deepest = deepest_below(index) - depths_[index] + depths_[parent] + 1;
  if (deepest > depth_max(parent))
    throw Error(ErrorCode::delegation_depth, "parent", deepest, depth_max(parent), id);
  if ((permissions_[index] & ~permissions_[parent]) != 0)
    throw Error(ErrorCode::attenuation_violation, "permissions",
                "bits " + std::to_string(permissions_[index] & ~permissions_[parent]) +
                    " are not the parent's, which has " + std::to_string(permissions_[parent]),
                id);
  if (budgets_[index] > budgets_[parent])
    throw Error(ErrorCode::attenuation_violation, "budget_max", budgets_[index], budgets_[parent],
                id);
  if (parents_[index] != parent && find(name(index), parent) != index_none)
    throw Error(ErrorCode::name_taken, "name",
                "'" + std::string(name(index)) + "' is a child of the parent", id_at(parent));
}

void AgentTable::apply_move(uint32_t index, uint32_t parent) {
  if (parents_[index] == parent) return;
  std::vector<uint32_t> moved;
  for (uint32_t i = 0; i < count(); ++i)
    if (within(i, index)) moved.push_back(i);
  const std::string_view known = name(index);
  if (!known.empty()) {
    by_parent_and_name_.erase(parent_and_name(known, parents_[index]), index);
    by_parent_and_name_.insert(parent_and_name(known, parent), index);
  }
  const int by = int(depths_[parent]) + 1 - int(depths_[index]);
  const uint32_t deepest = depth_max(parent);
  parents_[index] = parent;
  if (deepest != delegation_depth_max) depth_max_.resize(count(), uint8_t(delegation_depth_max));
  for (const uint32_t i : moved) {
    depths_[i] = uint8_t(int(depths_[i]) + by);
    if (i < depth_max_.size()) {
      // What limit it has is counted from where it stands, so the limit moves along.
      const uint32_t own = depth_max_[i];
      const int along = own == delegation_depth_max ? int(own) : int(own) + by;
      depth_max_[i] = uint8_t(std::min(along, int(deepest)));
    }
    hash_.mark(i);
  }
  bump_epoch();
}

uint32_t AgentTable::controller(uint32_t index) const {
  for (uint32_t at = index; at != 0 && at != index_none; at = parents_[at])
    if (kinds_[at] == AgentKind::group || kinds_[at] == AgentKind::human) return at;
  return index;
}

}  // namespace hanse
