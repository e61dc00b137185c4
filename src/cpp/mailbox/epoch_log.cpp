#include "mailbox/epoch_log.hpp"

#include <algorithm>

namespace hanse {

namespace {

constexpr size_t piece_chunk_count = 32;
constexpr size_t epoch_chunk_count_max = Partition::row_count_max / LogChunk::row_count_max;

// Room for `count` values, those from `known` on being 0.
template <class T>
void grow(BulkPages& pages, size_t known, size_t count) {
  if (count * sizeof(T) > pages.size_bytes()) {
    BulkPages grown(std::max(count * sizeof(T), 2 * pages.size_bytes()));
    if (known != 0) std::memcpy(grown.data(), pages.data(), known * sizeof(T));
    pages = std::move(grown);
  }
  std::fill(static_cast<T*>(pages.data()) + known, static_cast<T*>(pages.data()) + count, T{});
}

}  // namespace

void EpochLog::resize(uint32_t count, uint32_t capacity) {
  capacity_ = capacity;
  block_limit_ = std::min<uint32_t>(capacity, UINT16_MAX);
  if (count <= receiver_count_) return;
  const auto blocks_of = [](size_t receivers) {
    return (receivers + (1u << block_bits) - 1) >> block_bits;
  };
  grow<uint32_t>(marks_, receiver_count_, count);
  grow<uint64_t>(next_sequences_, receiver_count_, count);
  grow<uint16_t>(blocks_, blocks_of(receiver_count_), blocks_of(count));
  buckets_.resize((count + Partition::receiver_count - 1) / Partition::receiver_count);
  receiver_count_ = count;
}

void EpochLog::reset() {
  HANSE_ASSERT(count_ == 0);
  for (Bucket& bucket : buckets_) {
    bucket.exact = false;
    bucket.odd_count = 0;
  }
  exact_ = false;
}

uint32_t EpochLog::count_of(uint32_t receiver) {
  if (receiver >= receiver_count_) return 0;
  Bucket& bucket = buckets_[receiver >> Partition::receiver_bits];
  if (!bucket.exact) {
    if (blocks()[receiver >> block_bits] == 0) return 0;
    make_exact(bucket);
  }
  return marks()[receiver] & ~odd_bit;
}

void EpochLog::set_odd(uint32_t receiver, bool odd) {
  Bucket& bucket = buckets_[receiver >> Partition::receiver_bits];
  if (!bucket.exact && !odd) return;
  if (!bucket.exact) make_exact(bucket);
  uint32_t& mark = marks()[receiver];
  if (((mark & odd_bit) != 0) == odd) return;
  mark ^= odd_bit;
  bucket.odd_count += odd ? 1 : UINT32_MAX;
}

bool EpochLog::count_exactly(Bucket& bucket, uint32_t receiver) {
  if (!bucket.exact) make_exact(bucket);
  if (marks()[receiver] >= capacity_) return false;  // An odd one is above every capacity.
  ++marks()[receiver];
  return true;
}

// From now on, until it is read empty, the receivers of a bucket are counted one by one.
void EpochLog::make_exact(Bucket& bucket) {
  const auto number = size_t(&bucket - buckets_.data());
  const size_t begin = number * Partition::receiver_count;
  const size_t end = std::min<size_t>(begin + Partition::receiver_count, receiver_count_);
  uint32_t* counts = marks() + begin;
  std::fill(counts, marks() + end, 0);
  for (const LogChunk* chunk : bucket.chunks) {
    const uint32_t count = chunk == bucket.tail ? bucket.row : chunk->count;
    for (uint32_t row = 0; row < count; ++row) ++counts[chunk->receivers[row]];
  }
  std::fill(blocks() + (begin >> block_bits), blocks() + ((end - 1) >> block_bits) + 1, 0);
  bucket.exact = true;
  if (number != epoch_bucket_) return;
  for (const uint32_t key : keys_) ++counts[Partition::receiver_of(key)];
  exact_ = true;
}

void EpochLog::add_chunk(Bucket& bucket, uint64_t sent_ns) {
  if (free_.empty()) {
    pieces_.emplace_back(piece_chunk_count * sizeof(LogChunk));
    free_.reserve(pieces_.size() * piece_chunk_count);
    auto* chunks = static_cast<LogChunk*>(pieces_.back().data());
    for (size_t i = piece_chunk_count; i-- > 0;) free_.push_back(chunks + i);
  }
  bucket.chunks.push_back(free_.back());
  if (bucket.tail) bucket.tail->count = LogChunk::row_count_max;
  bucket.tail = free_.back();
  free_.pop_back();
  bucket.row = 0;
  bucket.append = 0;
  bucket.mixed = bucket.tail->mixed = false;
  bucket.tail->sent_ns = sent_ns;
}

// For the row that is about to be written: its columns where they don't agree with those before it.
void EpochLog::write_columns(Bucket& bucket, const Append& append, uint32_t size) {
  LogChunk& chunk = *bucket.tail;
  const uint64_t earliest = append.deadline_ns == 0 ? UINT64_MAX : append.deadline_ns;
  bucket.append = append.number;
  if (bucket.row == 0) {
    chunk.sender = append.sender;
    chunk.size = bucket.size = size;
    chunk.deadline_ns = earliest;
    return;
  }
  if (!bucket.mixed) {
    if (chunk.sender == append.sender && chunk.size == size && chunk.deadline_ns == earliest)
      return;
    const uint64_t deadline_ns = chunk.deadline_ns == UINT64_MAX ? 0 : chunk.deadline_ns;
    std::fill_n(chunk.senders, bucket.row, chunk.sender);
    std::fill_n(chunk.sizes, bucket.row, uint8_t(chunk.size));
    std::fill_n(chunk.deadlines, bucket.row, deadline_ns);
    bucket.mixed = chunk.mixed = true;
  }
  chunk.senders[bucket.row] = append.sender;
  chunk.sizes[bucket.row] = uint8_t(size);
  chunk.deadlines[bucket.row] = append.deadline_ns;
  chunk.deadline_ns = std::min(chunk.deadline_ns, earliest);
}

std::span<const uint32_t> EpochLog::keys() {
  if (keys_.empty() && count_ != 0) take_bucket();
  return keys_;
}

// The next bucket that has rows becomes the epoch; what is sent from now on is for a later one.
void EpochLog::take_bucket() {
  size_t number = epoch_bucket_;
  do number = (number + 1) % buckets_.size();
  while (buckets_[number].chunks.empty());
  Bucket& bucket = buckets_[number];
  bucket.tail->count = bucket.row;
  if (bucket.chunks.size() <= epoch_chunk_count_max) {
    epoch_.swap(bucket.chunks);
    bucket.tail = nullptr;
    bucket.row = LogChunk::row_count_max;
  } else {
    // More rows than a key can number: the rest is its next epoch.
    const auto end = bucket.chunks.begin() + ptrdiff_t(epoch_chunk_count_max);
    epoch_.assign(bucket.chunks.begin(), end);
    bucket.chunks.erase(bucket.chunks.begin(), end);
  }
  epoch_bucket_ = number;
  range_ = uint32_t(number) * Partition::receiver_count;
  exact_ = bucket.exact;
  partition_.clear();
  for (const LogChunk* chunk : epoch_) partition_.add({chunk->receivers, chunk->count});
  keys_ = partition_.sort();
  last_key_ = -1;
  ++epochs_;
}

void EpochLog::advance(size_t count) {
  if (count == 0) return;
  last_key_ = keys_[count - 1];
  keys_ = keys_.subspan(count);
  count_ -= count;
  if (!keys_.empty()) return;
  free_.insert(free_.end(), epoch_.rbegin(), epoch_.rend());
  epoch_.clear();
  Bucket& bucket = buckets_[epoch_bucket_];
  if (bucket.chunks.empty() && bucket.odd_count == 0) bucket.exact = exact_ = false;
}

EpochLog::Row EpochLog::row(uint32_t key) const {
  const LogChunk& chunk = chunk_of(key);
  const uint32_t row = index_of_row(key);
  if (chunk.mixed)
    return {receiver_of(key), chunk.sizes[row], chunk.senders[row], chunk.deadlines[row],
            chunk.rows[row].bytes};
  const uint64_t deadline_ns = chunk.deadline_ns == UINT64_MAX ? 0 : chunk.deadline_ns;
  return {receiver_of(key), chunk.size, chunk.sender, deadline_ns, chunk.rows[row].bytes};
}

uint64_t EpochLog::memory_bytes() const {
  uint64_t bytes = marks_.size_bytes() + blocks_.size_bytes() + next_sequences_.size_bytes() +
                   partition_.memory_bytes() + buckets_.capacity() * sizeof(Bucket) +
                   (free_.capacity() + epoch_.capacity()) * sizeof(LogChunk*);
  for (const Bucket& bucket : buckets_) bytes += bucket.chunks.capacity() * sizeof(LogChunk*);
  for (const BulkPages& piece : pieces_) bytes += piece.size_bytes();
  return bytes;
}

}  // namespace hanse
