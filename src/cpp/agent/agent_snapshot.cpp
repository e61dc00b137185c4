// The agents in a snapshot: one row an agent, names and identities with those who have one.
#include "agent/agent.hpp"

namespace hanse {

void AgentTable::encode(SnapshotWriter& out) const {
  out.put(epoch_);
  out.table(count(), [&](size_t at, FieldWriter& fields) {
    const auto index = uint32_t(at);
    const bool has_identity = index < identity_of_.size() && identity_of_[index] != index_none;
    fields(parents_[index], tenants_[index], kinds_[index], stopped_[index], permissions_[index],
           budgets_[index], std::string(name(index)), has_identity, uint8_t(depth_max(index)));
    if (has_identity) fields(identities_[identity_of_[index]]);
  });
}

void AgentTable::decode(SnapshotReader& in) {
  *this = AgentTable();
  in.take(epoch_);
  in.table([&](size_t at, FieldReader& fields) {
    in.require(at < index_none, "agent.count");
    const auto index = uint32_t(at);
    if (index != 0) {
      for (auto* column : {&parents_, &tenants_, &live_cache_}) column->push_back(0);
      kinds_.push_back(AgentKind::agent);
      depths_.push_back(0), stopped_.push_back(0);
      permissions_.push_back(0), budgets_.push_back(0);
    }
    std::string name;
    bool has_identity = false;
    uint8_t deepest = 0;
    fields(parents_[index], tenants_[index], kinds_[index], stopped_[index], permissions_[index],
           budgets_[index], name, has_identity, deepest);
    in.require(deepest <= delegation_depth_max, "agent.depth_max");
    if (deepest != delegation_depth_max) depth_max_.resize(index, uint8_t(delegation_depth_max));
    if (deepest != delegation_depth_max || !depth_max_.empty()) depth_max_.push_back(deepest);
    in.require(kinds_[index] <= AgentKind::tool && stopped_[index] <= 3, "agent.kind");
    in.require(tenants_[index] <= index, "agent.tenant");
    in.require(index == 0 ? parents_[0] == index_none && name == "root" : index != parents_[index],
               "agent.parent");
    if (index != 0 && !name.empty()) apply_name(index, std::move(name));
    if (has_identity) {
      identity_of_.resize(index, index_none);
      identity_of_.push_back(uint32_t(identities_.size()));
      fields(identities_.emplace_back());
    }
    hash_.mark(index);
  });
  in.require(count() != 0, "agent.count");
  // A parent that an agent was moved to may have come after it.
  for (uint32_t index = 1; index < count(); ++index) {
    uint32_t depth = 0;
    for (uint32_t at = index; at != 0 && depth <= delegation_depth_max; ++depth) {
      in.require(parents_[at] < count(), "agent.parent");
      at = parents_[at];
    }
    in.require(depth <= delegation_depth_max, "agent.depth");
    depths_[index] = uint8_t(depth);
  }
  in.expect_end();
}

}  // namespace hanse
