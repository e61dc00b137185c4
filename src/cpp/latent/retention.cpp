#include "latent/retention.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.hpp"

namespace hanse {

uint8_t Retention::step_of(const RetainedEntry& entry) {
  const double worth = double(std::max<uint64_t>(entry.cost, 1)) * entry.reuse /
                       double(std::max<uint64_t>(entry.retained_bytes, 1));
  const double step = 2 * std::log2(worth) + 48;  // 2^-24 … 2^7.5 a byte have steps of their own
  return uint8_t(std::clamp(step, 0.0, double(steps - 1)));
}

void Retention::push(Tenant& tenant, RetainedEntry& entry, uint8_t step) {
  List& list = tenant.lists[step];
  entry.step = step;
  entry.newer = nullptr;
  entry.older = list.newest;
  if (list.newest) list.newest->newer = &entry;
  list.newest = &entry;
  if (!list.oldest) list.oldest = &entry;
  tenant.occupied |= uint64_t(1) << step;
}

void Retention::pull(Tenant& tenant, RetainedEntry& entry) {
  List& list = tenant.lists[entry.step];
  (entry.newer ? entry.newer->older : list.newest) = entry.older;
  (entry.older ? entry.older->newer : list.oldest) = entry.newer;
  if (!list.newest) tenant.occupied &= ~(uint64_t(1) << entry.step);
}

void Retention::keep(uint32_t tenant, RetainedEntry& entry, uint64_t bytes, uint64_t cost) {
  HANSE_ASSERT(!entry.kept);
  entry.kept = true;
  entry.pinned = false;
  entry.retained_bytes = bytes;
  entry.cost = cost;
  Tenant& of = tenants_[tenant];
  push(of, entry, step_of(entry));
  of.bytes += bytes;
  ++of.count;
  total_bytes_ += bytes;
}

void Retention::drop(uint32_t tenant, RetainedEntry& entry) {
  if (!entry.kept) return;
  Tenant& of = tenants_[tenant];
  if (!entry.pinned) pull(of, entry);
  entry.kept = entry.pinned = false;
  of.bytes -= entry.retained_bytes;
  total_bytes_ -= entry.retained_bytes;
  if (--of.count == 0 && !of.has_quota) tenants_.erase(tenant);
}

void Retention::touch(uint32_t tenant, RetainedEntry& entry) {
  if (!entry.kept) return;
  if (entry.reuse != UINT32_MAX) ++entry.reuse;
  if (entry.pinned) return;
  Tenant& of = tenants_[tenant];
  pull(of, entry);
  push(of, entry, step_of(entry));
}

void Retention::pin(uint32_t tenant, RetainedEntry& entry, bool pinned) {
  if (!entry.kept || entry.pinned == pinned) return;
  Tenant& of = tenants_[tenant];
  if (pinned)
    pull(of, entry);
  else
    push(of, entry, step_of(entry));
  entry.pinned = pinned;
}

Retention::Victim Retention::victim(uint32_t tenant) {
  auto found = tenants_.find(tenant);
  if (tenant == tenant_any) {
    found = tenants_.end();
    for (auto at = tenants_.begin(); at != tenants_.end(); ++at)
      if (at->second.occupied != 0 &&
          (found == tenants_.end() || at->second.bytes > found->second.bytes))
        found = at;
  }
  if (found == tenants_.end() || found->second.occupied == 0) return {};
  Tenant& of = found->second;
  const auto lowest = uint8_t(std::countr_zero(of.occupied));
  RetainedEntry* entry = of.lists[lowest].oldest;
  if (const uint64_t above = of.occupied & (of.occupied - 1)) {
    RetainedEntry* faded = of.lists[size_t(std::countr_zero(above))].oldest;
    const auto step = uint8_t(faded->step - 1);
    pull(of, *faded);
    push(of, *faded, step);
  }
  return {entry, found->first};
}

void Retention::set_quota(uint32_t tenant, uint64_t quota_bytes) {
  Tenant& of = tenants_[tenant];
  of.has_quota = true;
  of.quota_bytes = quota_bytes;
}

uint64_t Retention::quota_bytes(uint32_t tenant) const {
  const auto found = tenants_.find(tenant);
  return found != tenants_.end() && found->second.has_quota ? found->second.quota_bytes
                                                            : quota_default_;
}

uint64_t Retention::kept_bytes(uint32_t tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.bytes;
}

}  // namespace hanse
