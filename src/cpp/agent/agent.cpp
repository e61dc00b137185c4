#include "agent/agent.hpp"

#include "base/seeded_bug.hpp"

#include <algorithm>

namespace hanse {

namespace {

uint64_t name_hash(std::string_view name, uint64_t seed) {
  return hash_bytes({reinterpret_cast<const uint8_t*>(name.data()), name.size()}, seed);
}

// Seeds of the two name maps: any name, and a name below one parent.
constexpr uint64_t anywhere = UINT64_MAX;

void require_range(bool holds, const char* field, uint64_t value, uint64_t limit) {
  if (!holds) throw Error(ErrorCode::out_of_range, field, value, limit);
}

void require_matching(size_t size, uint32_t count, const char* field) {
  if (size != 0 && size != count)
    throw Error(ErrorCode::out_of_range, field,
                std::to_string(size) + " given for " + std::to_string(count) +
                    " agents; give none, or one for each");
}

template <class T>
uint64_t vector_bytes(const std::vector<T>& values) {
  return values.capacity() * sizeof(T);
}

}  // namespace

AgentTable::AgentTable() {
  parents_.push_back(index_none);
  tenants_.push_back(0);
  kinds_.push_back(AgentKind::group);
  depths_.push_back(0);
  stopped_.push_back(0);
  permissions_.push_back(permissions_all);
  budgets_.push_back(budget_unlimited);
  live_cache_.push_back(0);
  apply_name(0, "root");
  hash_.mark(0);
}

bool AgentTable::contains(AgentId id) const {
  return index_of(id) < count() && generation_of(id) == 1;
}

uint32_t AgentTable::index_checked(AgentId id) const {
  if (!contains(id)) throw Error(ErrorCode::unknown_agent, "agent", "no such agent", id);
  return index_of(id);
}

void AgentTable::check_add(const AgentsAdded& added) const {
  require_range(added.kind <= AgentKind::tool, "kind", uint64_t(added.kind),
                uint64_t(AgentKind::tool));
  require_range(added.count >= 1 && added.count <= agents_per_add_max, "count", added.count,
                agents_per_add_max);
  require_range(uint64_t(count()) + added.count <= index_none, "count",
                uint64_t(count()) + added.count, index_none);
  require_matching(added.names.size(), added.count, "names");
  require_matching(added.identities.size(), added.count, "identities");
  for (const std::string& name : added.names)
    require_range(name.size() <= agent_name_size_max, "name", name.size(), agent_name_size_max);

  if (!contains(added.parent))
    throw Error(ErrorCode::unknown_agent, "parent", "no such agent", added.parent);
  const uint32_t parent = index_of(added.parent);
  if (!live(parent))
    throw Error(ErrorCode::revoked, "parent", "it or one of its parents was revoked", added.parent);
  if (depths_[parent] >= depth_max(parent))
    throw Error(ErrorCode::delegation_depth, "parent", uint64_t(depths_[parent]) + 1,
                depth_max(parent), added.parent);
  if (added.permissions != permissions_all && (added.permissions & ~permissions_[parent]) != 0)
    throw Error(ErrorCode::attenuation_violation, "permissions",
                "bits " + std::to_string(added.permissions & ~permissions_[parent]) +
                    " are not the parent's, which has " + std::to_string(permissions_[parent]),
                added.parent);
  if (added.budget_max != budget_unlimited && added.budget_max > budgets_[parent])
    throw Error(ErrorCode::attenuation_violation, "budget_max", added.budget_max, budgets_[parent],
                added.parent);
  check_names(added, parent);
}

void AgentTable::check_names(const AgentsAdded& added, uint32_t parent) const {
  HashMap seen;
  seen.reserve(added.names.size());
  for (uint32_t i = 0; i < added.names.size(); ++i) {
    const std::string& name = added.names[i];
    if (name.empty()) continue;
    const uint64_t hash = name_hash(name, parent);
    const bool in_batch =
        seen.find(hash, [&](uint32_t other) { return added.names[other] == name; }) != index_none;
    if (in_batch || find(name, parent) != index_none)
      throw Error(
          ErrorCode::name_taken, "name",
          "'" + name + (in_batch ? "' is in the batch twice" : "' is a child of the parent"),
          added.parent);
    seen.insert(hash, i);
  }
}

uint32_t AgentTable::apply_add(const AgentsAdded& added) {
  const uint32_t first = count();
  const uint32_t parent = index_of(added.parent);
  const size_t size = size_t(first) + added.count;
  const bool is_tenant = parent == 0 && added.kind == AgentKind::group;
  // `permissions_all` and `budget_unlimited` narrow to what the parent has.
  const uint64_t permissions = added.permissions & permissions_[parent];
  const uint64_t budget = std::min(added.budget_max, budgets_[parent]);
  const auto depth = uint8_t(depths_[parent] + 1);

  parents_.resize(size, parent);
  tenants_.resize(size, tenants_[parent]);
  kinds_.resize(size, added.kind);
  depths_.resize(size, depth);
  stopped_.resize(size, 0);
  permissions_.resize(size, permissions);
  budgets_.resize(size, budget);
  live_cache_.resize(size, 0);
  if (depth_max(parent) != delegation_depth_max) {
    depth_max_.resize(first, uint8_t(delegation_depth_max));
    depth_max_.resize(size, uint8_t(depth_max(parent)));
  }
  for (uint32_t i = 0; i < added.count; ++i) {
    if (is_tenant) tenants_[first + i] = first + i;
    hash_.mark(first + i);
  }
  for (uint32_t i = 0; i < added.names.size(); ++i)
    if (!added.names[i].empty()) apply_name(first + i, added.names[i]);
  if (!added.identities.empty()) {
    identity_of_.resize(first, index_none);
    for (const Digest& identity : added.identities) {
      identity_of_.push_back(uint32_t(identities_.size()));
      identities_.push_back(identity);
    }
  }
  return first;
}

void AgentTable::apply_name(uint32_t index, std::string name) {
  if (find(name) == index_none) by_name_.insert(name_hash(name, anywhere), index);
  by_parent_and_name_.insert(name_hash(name, parents_[index]), index);
  name_of_.resize(index, index_none);
  name_of_.push_back(uint32_t(names_.size()));
  names_.push_back(std::move(name));
}

void AgentTable::apply_revoke(uint32_t index) {
  if ((stopped_[index] & revoked_bit) != 0) return;
  stopped_[index] |= revoked_bit;
  hash_.mark(index);
  bump_epoch();
}

void AgentTable::apply_pause(uint32_t index, bool paused) {
  stopped_[index] = uint8_t(paused ? stopped_[index] | paused_bit : stopped_[index] & ~paused_bit);
  hash_.mark(index);
  bump_epoch();
}

void AgentTable::bump_epoch() {
  ++epoch_;
  if (live_stamp() == 0) {
    // Stamps have 31 bits. Once they are used up every cached answer is dropped.
    std::fill(live_cache_.begin(), live_cache_.end(), 0);
    ++epoch_;
  }
}

bool AgentTable::live_uncached(uint32_t index) const {
  const bool answer = stopped_ancestor(index, revoked_bit | paused_bit) == index_none;
  live_cache_[index] = live_stamp() << 1 | uint32_t(answer);
  return answer;
}

uint32_t AgentTable::stopped_ancestor(uint32_t index, uint8_t bits) const {
  for (uint32_t at = index; at != index_none; at = HANSE_SEEDED_BUG(51) ? index_none : parents_[at])
    if ((stopped_[at] & bits) != 0) return at;
  return index_none;
}

bool AgentTable::within(uint32_t index, uint32_t ancestor) const {
  uint32_t at = index;
  while (depths_[at] > depths_[ancestor]) at = parents_[at];
  return at == ancestor || (HANSE_SEEDED_BUG(52) && parents_[at] == parents_[ancestor]);
}

std::string_view AgentTable::name(uint32_t index) const {
  if (index >= name_of_.size() || name_of_[index] == index_none) return {};
  return names_[name_of_[index]];
}

uint32_t AgentTable::find(std::string_view wanted, uint32_t parent) const {
  if (wanted.empty()) return index_none;
  if (parent == index_none)
    return by_name_.find(name_hash(wanted, anywhere),
                         [&](uint32_t index) { return name(index) == wanted; });
  return by_parent_and_name_.find(name_hash(wanted, parent), [&](uint32_t index) {
    return parents_[index] == parent && name(index) == wanted;
  });
}

AgentInfo AgentTable::info(uint32_t index) const {
  AgentInfo info;
  info.id = id_at(index);
  info.parent = index == 0 ? id_none : id_at(parents_[index]);
  info.tenant = id_at(tenants_[index]);
  info.kind = kinds_[index];
  info.depth = depths_[index];
  info.permissions = permissions_[index];
  info.budget_max = budgets_[index];
  info.live = live(index);
  info.paused = paused_ancestor(index) != index_none;
  info.depth_max = depth_max(index);
  info.name = name(index);
  if (index < identity_of_.size() && identity_of_[index] != index_none)
    info.identity = identities_[identity_of_[index]];
  return info;
}

Digest AgentTable::state_hash() const {
  return hash_.digest(count(), [&](uint32_t index, ByteWriter& writer) {
    const bool has_identity = index < identity_of_.size() && identity_of_[index] != index_none;
    writer.put(id_at(index));
    writer.put(index == 0 ? id_none : id_at(parents_[index]));
    writer.put(kinds_[index]);
    writer.put(permissions_[index]);
    writer.put(budgets_[index]);
    writer.put(stopped_[index]);
    writer.put_text(name(index));
    // What a journal without such a narrowing hashed must stay what it was.
    const bool narrowed = depth_max(index) != delegation_depth_max;
    writer.put(uint8_t(uint8_t(has_identity) | (narrowed ? 2 : 0)));
    if (narrowed) writer.put(uint8_t(depth_max(index)));
    if (has_identity) writer.put_digest(identities_[identity_of_[index]]);
  });
}

uint64_t AgentTable::memory_bytes() const {
  uint64_t bytes = vector_bytes(parents_) + vector_bytes(tenants_) + vector_bytes(kinds_) +
                   vector_bytes(depths_) + vector_bytes(stopped_) + vector_bytes(depth_max_) +
                   vector_bytes(permissions_) + vector_bytes(budgets_) + vector_bytes(live_cache_) +
                   vector_bytes(name_of_) + vector_bytes(identity_of_) + vector_bytes(names_) +
                   vector_bytes(identities_);
  return bytes + by_name_.memory_bytes() + by_parent_and_name_.memory_bytes();
}

}  // namespace hanse
