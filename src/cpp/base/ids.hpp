// Ids are u64: index in the low half, generation in the high half. Generations start at 1, so 0 is
// never an id and serves as "none".
#pragma once

#include <array>
#include <cstdint>

namespace hanse {

using AgentId = uint64_t;
using TaskId = uint64_t;
using LatentId = uint64_t;
using Position = uint64_t;  // index of a record in the journal, and of its Merkle leaf
using Digest = std::array<uint8_t, 32>;

constexpr uint64_t id_none = 0;
constexpr uint32_t index_none = UINT32_MAX;
constexpr Position position_none = UINT64_MAX;

constexpr uint64_t make_id(uint32_t index, uint32_t generation) {
  return uint64_t(generation) << 32 | index;
}
constexpr uint32_t index_of(uint64_t id) { return uint32_t(id); }
constexpr uint32_t generation_of(uint64_t id) { return uint32_t(id >> 32); }

}  // namespace hanse
