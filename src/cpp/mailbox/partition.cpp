#include "mailbox/partition.hpp"

#include <array>

namespace hanse {

namespace {

// Below this, clearing and summing a counter for each receiver would cost more than a second pass.
constexpr size_t counting_row_count_min = Partition::receiver_count / 8;

}  // namespace

void Partition::add(std::span<const uint16_t> receivers) {
  auto row = uint32_t(keys_.size());
  keys_.resize(keys_.size() + receivers.size());
  uint32_t* out = keys_.data() + row;
  for (const uint16_t receiver : receivers) *out++ = uint32_t(receiver) << row_bits | row++;
}

std::span<const uint32_t> Partition::sort() {
  if (sorted_.size() < keys_.size()) sorted_.resize(keys_.size());
  if (keys_.size() < counting_row_count_min) {
    sort_by_radix();
    return keys_;
  }
  sort_by_counting();
  return {sorted_.data(), keys_.size()};
}

void Partition::sort_by_counting() {
  starts_.assign(receiver_count, 0);
  for (const uint32_t key : keys_) ++starts_[receiver_of(key)];
  uint32_t sum = 0;
  for (uint32_t& start : starts_) {
    const uint32_t count = start;
    start = sum;
    sum += count;
  }
  uint32_t* out = sorted_.data();
  for (const uint32_t key : keys_) out[starts_[receiver_of(key)]++] = key;
}

void Partition::sort_by_radix() {
  constexpr uint32_t digit_bits = receiver_bits / 2, digit_count = 1u << digit_bits;
  const auto pass = [](std::span<const uint32_t> from, uint32_t* to, uint32_t shift) {
    std::array<uint32_t, digit_count> starts{};
    for (const uint32_t key : from) ++starts[key >> shift & (digit_count - 1)];
    uint32_t sum = 0;
    for (uint32_t& start : starts) {
      const uint32_t count = start;
      start = sum;
      sum += count;
    }
    for (const uint32_t key : from) to[starts[key >> shift & (digit_count - 1)]++] = key;
  };
  pass(keys_, sorted_.data(), row_bits);
  pass({sorted_.data(), keys_.size()}, keys_.data(), row_bits + digit_bits);
}

uint64_t Partition::memory_bytes() const {
  return (keys_.capacity() + sorted_.capacity() + starts_.capacity()) * sizeof(uint32_t);
}

}  // namespace hanse
