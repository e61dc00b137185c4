// Records of one size in segments that double and never move. Internal to this concept.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace hanse {

// Memory is the system's zero pages until it is written, so a segment costs what is used of it.
// Slot s lives at a place found with one shift and one load; growing moves nothing, so readers go
// on without a lock. `grow` is the writer's alone; a slot may be read by whoever learnt of it
// through an acquire.
class SlotArena {
 public:
  static constexpr uint32_t first_slots = 65536;
  static constexpr uint32_t segment_count_max = 16;  // 2^31 slots

  explicit SlotArena(size_t stride_bytes) : stride_(stride_bytes) {}
  ~SlotArena();
  SlotArena(const SlotArena&) = delete;
  SlotArena& operator=(const SlotArena&) = delete;

  // Slots below `count` are there afterwards, the new ones filled with zeros.
  void grow(uint32_t count);
  uint8_t* at(uint32_t slot) const {
    return reinterpret_cast<uint8_t*>(biased_[std::bit_width(slot / first_slots)] +
                                      size_t(slot) * stride_);
  }
  size_t stride_bytes() const { return stride_; }
  uint32_t capacity() const { return capacity_; }

 private:
  size_t stride_;
  uint32_t capacity_ = 0, segment_count_ = 0;
  void* mapped_[segment_count_max] = {};
  uintptr_t biased_[segment_count_max] = {};  // start of the segment minus its first slot's offset
};

}  // namespace hanse
