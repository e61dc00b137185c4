// What is kept without a handle, and what goes first when room is needed.
//
// The worth of an entry is recompute cost × reuse ÷ bytes, on a scale of half powers of two; each
// step of the scale has one list, least recently used last, so every operation takes constant time.
// Each eviction moves the oldest entry of the next step one down, so that old fame fades. Not
// thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>

namespace hanse {

// Base of what can be kept. Its address must not change while it is.
struct RetainedEntry {
  RetainedEntry *newer = nullptr, *older = nullptr;
  uint64_t retained_bytes = 0;
  uint64_t cost = 0;  // of computing it anew, in units of the caller's own
  uint32_t reuse = 1;
  uint8_t step = 0;
  bool kept = false, pinned = false;
};

class Retention {
 public:
  explicit Retention(uint64_t quota_bytes_default) : quota_default_(quota_bytes_default) {}

  void keep(uint32_t tenant, RetainedEntry& entry, uint64_t bytes, uint64_t cost);
  void drop(uint32_t tenant, RetainedEntry& entry);
  // It was used again. Does nothing where the entry is not kept.
  void touch(uint32_t tenant, RetainedEntry& entry);
  // A pinned entry is never a victim.
  void pin(uint32_t tenant, RetainedEntry& entry, bool pinned);

  // Least worth of the tenant's, or of the tenant that keeps most (tenant_any); null: none.
  struct Victim {
    RetainedEntry* entry = nullptr;
    uint32_t tenant = 0;
  };
  static constexpr uint32_t tenant_any = UINT32_MAX;
  Victim victim(uint32_t tenant);

  void set_quota(uint32_t tenant, uint64_t quota_bytes);
  uint64_t quota_bytes(uint32_t tenant) const;
  uint64_t kept_bytes(uint32_t tenant) const;
  uint64_t kept_bytes() const { return total_bytes_; }

 private:
  static constexpr uint32_t steps = 64;
  struct List {
    RetainedEntry *newest = nullptr, *oldest = nullptr;
  };
  struct Tenant {
    std::array<List, steps> lists;
    uint64_t occupied = 0;  // bit i: list i is not empty
    uint64_t bytes = 0, quota_bytes = 0;
    uint64_t count = 0;
    bool has_quota = false;
  };

  static uint8_t step_of(const RetainedEntry& entry);
  static void push(Tenant& tenant, RetainedEntry& entry, uint8_t step);
  static void pull(Tenant& tenant, RetainedEntry& entry);

  const uint64_t quota_default_;
  uint64_t total_bytes_ = 0;
  std::map<uint32_t, Tenant> tenants_;
};

}  // namespace hanse
