// Whose turn it is: groups that have ready boxes take turns, and in each the boxes take turns.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "base/ids.hpp"

namespace hanse {

class ReadyBoxes {
 public:
  explicit ReadyBoxes(uint32_t group_quantum) : group_quantum_(group_quantum), turns_(1) {}

  bool empty() const { return lone_ == index_none && first_ == last_; }

  // The caller sees to it that a box is in it at most once. A box that is alone needs no group and
  // no ring: two agents that talk to each other are the commonest case.
  void push(uint32_t group, uint32_t box) {
    if (empty()) {
      lone_ = box;
      lone_group_ = group;
    } else {
      push_behind(group, box);
    }
  }

  // The box that waits longest in the group whose turn it is. Then `served` must be called.
  uint32_t pop() {
    alone_ = lone_ != index_none;
    if (alone_) return std::exchange(lone_, index_none);
    Group& group = current();
    return group.ring[group.head++ & (group.capacity - 1)];
  }
  void served(uint32_t message_count) {
    if (!alone_) end_turn(message_count);
  }

  // The box that will be popped `ahead` pops from now, if no other group comes first; index_none.
  uint32_t peek(uint32_t ahead) const {
    if (first_ == last_) return index_none;
    const Group& group = groups_[turns_[first_ & (turns_.size() - 1)]];
    if (group.tail - group.head <= ahead) return index_none;
    return group.ring[(group.head + ahead) & (group.capacity - 1)];
  }
  bool crowded() const { return first_ != last_; }
  uint64_t memory_bytes() const {
    return groups_.capacity() * sizeof(Group) + turns_.capacity() * sizeof(uint32_t) + ring_bytes_;
  }

 private:
  struct Group {
    std::unique_ptr<uint32_t[]> ring;
    uint32_t capacity = 0;  // a power of two, or 0
    uint32_t head = 0, tail = 0;
    bool active = false;
  };

  [[gnu::noinline]] void push_behind(uint32_t group, uint32_t box) {
    if (lone_ != index_none) append(lone_group_, std::exchange(lone_, index_none));
    append(group, box);
  }
  void append(uint32_t group, uint32_t box) {
    if (group >= groups_.size()) groups_.resize(group + size_t{1});
    Group& into = groups_[group];
    if (into.tail - into.head == into.capacity) grow(into);
    into.ring[into.tail++ & (into.capacity - 1)] = box;
    if (into.active) return;
    into.active = true;
    activate(group);
  }
  [[gnu::noinline]] void end_turn(uint32_t message_count) {
    Group& group = current();
    served_ += message_count;
    if (group.head == group.tail) {
      group.active = false;
      ++first_;
      served_ = 0;
    } else if (served_ >= group_quantum_) {
      served_ = 0;
      if (last_ - first_ == 1) return;
      const uint32_t number = turns_[first_++ & (turns_.size() - 1)];
      turns_[last_++ & (turns_.size() - 1)] = number;
    }
  }
  Group& current() { return groups_[turns_[first_ & (turns_.size() - 1)]]; }
  void grow(Group& group) {
    const uint32_t capacity = group.capacity == 0 ? 4 : group.capacity * 2;
    std::unique_ptr<uint32_t[]> ring(new uint32_t[capacity]);
    uint32_t count = 0;
    for (; group.head != group.tail; ++group.head)
      ring[count++] = group.ring[group.head & (group.capacity - 1)];
    ring_bytes_ += (capacity - group.capacity) * sizeof(uint32_t);
    group.ring = std::move(ring);
    group.capacity = capacity;
    group.head = 0;
    group.tail = count;
  }
  void activate(uint32_t group) {
    if (last_ - first_ == turns_.size()) {
      std::vector<uint32_t> turns(turns_.size() * 2);
      uint64_t count = 0;
      for (; first_ != last_; ++first_) turns[count++] = turns_[first_ & (turns_.size() - 1)];
      turns_.swap(turns);
      first_ = 0;
      last_ = count;
    }
    turns_[last_++ & (turns_.size() - 1)] = group;
  }

  uint32_t lone_ = index_none;  // the only box there is; index_none: look into the rings
  uint32_t lone_group_ = 0;
  bool alone_ = false;  // the last one popped was
  const uint32_t group_quantum_;
  uint32_t served_ = 0;  // in the current group's turn
  std::vector<Group> groups_;
  std::vector<uint32_t> turns_;  // a ring of groups that have ready boxes; a power of two
  uint64_t first_ = 0, last_ = 0;
  uint64_t ring_bytes_ = 0;
};

}  // namespace hanse
