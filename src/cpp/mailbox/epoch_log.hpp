// The second form of the boxes: a log of rows of 64 bytes, kept by ranges of receivers and put in
// order of receivers range by range when it is read.
//
// A linked box costs a few cache misses a message once the population is beyond the caches; here a
// row is written once, in a stream of its range, and read once, when its range is. Receivers of
// one range (16,384 agents) share a bucket of chunks. Reading takes a whole bucket as an epoch,
// sorts keys of its rows (partition.hpp) and fetches the rows in that order, ahead of their use.
// Chunks are reused, so that a steady state allocates nothing and touches no new page.
//
// Memory traffic is what it costs at ten million agents, so nothing is kept a receiver that can be
// kept a block of 64 of them: as long as a block has fewer rows than one box may hold, none of its
// receivers has more. Only where that does not decide are a bucket's receivers counted one by one.
//
// It knows nothing of boxes: who sends must see that a receiver has messages in its box or here,
// never in both, and so the order of each receiver's messages is that of sending.
#pragma once

#include <cstring>
#include <vector>

#include "base/error.hpp"
#include "mailbox/bulk_pages.hpp"
#include "mailbox/message.hpp"
#include "mailbox/partition.hpp"

namespace hanse {

// 1,024 rows of one bucket. Sender, size and deadline are one for all rows as long as they agree;
// a column is written from the first row on that differs.
struct LogChunk {
  static constexpr uint32_t row_count_max = 1024;
  struct alignas(64) Row {
    uint8_t bytes[message_inline_bytes];
  };

  uint32_t count;        // written when the chunk is full or read
  bool mixed;            // the columns at the end hold
  uint32_t size;         // of all rows, unless mixed
  AgentId sender;        // likewise
  uint64_t deadline_ns;  // the earliest of all rows; UINT64_MAX: none has one
  uint64_t sent_ns;      // when its first row came
  Row rows[row_count_max];
  uint16_t receivers[row_count_max];  // in the bucket's range
  uint8_t sizes[row_count_max];
  AgentId senders[row_count_max];
  uint64_t deadlines[row_count_max];  // 0: none
};

class EpochLog {
 public:
  // What the rows of one call have in common.
  struct Append {
    AgentId sender = id_none;
    uint64_t deadline_ns = 0;
    uint64_t sent_ns = 0;
    uint64_t number = 0;  // set by `begin`
  };
  // One row on its way out.
  struct Row {
    uint32_t receiver;
    uint32_t size;
    AgentId sender;
    uint64_t deadline_ns;  // 0: none
    const uint8_t* bytes;  // 64 of them, zero behind `size`
  };

  // Room for receivers 0 … count - 1, each with at most `capacity` rows.
  void resize(uint32_t count, uint32_t capacity);
  uint32_t receiver_count() const { return receiver_count_; }
  bool empty() const { return count_ == 0; }
  uint64_t count() const { return count_; }
  uint32_t count_of(uint32_t receiver);

  // Taken into use again: it is empty, and no receiver is odd.
  void reset();

  // A receiver whose box must be asked first: `append` has no room for it.
  void set_odd(uint32_t receiver, bool odd);
  bool odd(uint32_t receiver) const {
    return bucket_of(receiver).exact && (marks()[receiver] & odd_bit) != 0;
  }
  // The number that the receiver's next row out gets, in its box's sequence. Held here while the
  // log is in use: boxes are wider, and would be fetched for nothing else.
  uint64_t& next_sequence(uint32_t receiver) { return next_sequences()[receiver]; }

  void begin(Append& append) { append.number = ++appends_; }
  // The row's 64 bytes, for the caller to write all of them. Null: no room, or odd.
  uint8_t* append(const Append& append, uint32_t receiver, uint32_t size) {
    Bucket& bucket = buckets_[receiver >> Partition::receiver_bits];
    if (!bucket.exact && blocks()[receiver >> block_bits] < block_limit_) [[likely]] {
      ++blocks()[receiver >> block_bits];
    } else if (!count_exactly(bucket, receiver)) {
      return nullptr;
    }
    if (bucket.row == LogChunk::row_count_max) [[unlikely]]
      add_chunk(bucket, append.sent_ns);
    if (bucket.append != append.number || bucket.mixed || bucket.size != size) [[unlikely]]
      write_columns(bucket, append, size);
    LogChunk& chunk = *bucket.tail;
    const uint32_t row = bucket.row++;
    chunk.receivers[row] = uint16_t(receiver & (Partition::receiver_count - 1));
    ++count_;
    // The bucket's next row will be due after many of others: by then its line is here.
    __builtin_prefetch(&chunk.rows[row + 1], 1);
    return chunk.rows[row].bytes;
  }
  void prefetch_append(uint32_t receiver) const {
    __builtin_prefetch(&blocks()[receiver >> block_bits], 1);
  }

  // --- reading: one bucket after another, in turns
  // The next rows of the bucket at hand as ascending keys; taking up the next bucket where that one
  // is used up. Empty: so is the log. Valid until `advance`.
  std::span<const uint32_t> keys();
  // One row fewer for a receiver, and its sequence number.
  uint64_t take(uint32_t receiver) {
    if (exact_) {
      HANSE_ASSERT((marks()[receiver] & ~odd_bit) != 0);
      --marks()[receiver];
    } else {
      HANSE_ASSERT(blocks()[receiver >> block_bits] != 0);
      --blocks()[receiver >> block_bits];
    }
    return next_sequences()[receiver]++;
  }
  void advance(size_t count);
  // The key that was advanced over last; below all keys where an epoch begins. Keys must ascend
  // from it: that is what keeps each receiver's messages in order, and none twice.
  int64_t last_key() const { return last_key_; }
  uint32_t receiver_of(uint32_t key) const { return range_ + Partition::receiver_of(key); }
  const uint8_t* bytes_of(uint32_t key) const {
    return chunk_of(key).rows[index_of_row(key)].bytes;
  }
  Row row(uint32_t key) const;
  std::span<LogChunk* const> epoch() const { return epoch_; }

  uint64_t epochs() const { return epochs_; }
  uint64_t memory_bytes() const;

 private:
  static constexpr uint32_t block_bits = 6;
  static constexpr uint32_t odd_bit = 1u << 31;

  struct Bucket {
    LogChunk* tail = nullptr;
    uint32_t row = LogChunk::row_count_max;  // of the tail: the next one
    uint32_t size = 0;                       // the tail's
    uint64_t append = 0;                     // whose fields were compared last
    bool mixed = false;                      // the tail is
    bool exact = false;                      // marks hold, and blocks don't
    uint32_t odd_count = 0;                  // of its receivers; 0 unless exact
    std::vector<LogChunk*> chunks;
  };

  const Bucket& bucket_of(uint32_t receiver) const {
    return buckets_[receiver >> Partition::receiver_bits];
  }
  uint32_t* marks() const { return static_cast<uint32_t*>(marks_.data()); }
  uint16_t* blocks() const { return static_cast<uint16_t*>(blocks_.data()); }
  uint64_t* next_sequences() const { return static_cast<uint64_t*>(next_sequences_.data()); }
  const LogChunk& chunk_of(uint32_t key) const {
    return *epoch_[Partition::row_of(key) / LogChunk::row_count_max];
  }
  static uint32_t index_of_row(uint32_t key) {
    return Partition::row_of(key) % LogChunk::row_count_max;
  }

  bool count_exactly(Bucket& bucket, uint32_t receiver);
  void make_exact(Bucket& bucket);
  void add_chunk(Bucket& bucket, uint64_t sent_ns);
  static void write_columns(Bucket& bucket, const Append& append, uint32_t size);
  void take_bucket();

  uint32_t receiver_count_ = 0, capacity_ = 0;
  uint32_t block_limit_ = 0;  // below it, no receiver of a block can be full
  // A receiver's rows and its odd bit; a block's rows; a receiver's next sequence number.
  BulkPages marks_, blocks_, next_sequences_;
  std::vector<Bucket> buckets_;
  uint64_t count_ = 0;  // rows, those of the epoch included
  uint64_t appends_ = 0;

  std::vector<LogChunk*> epoch_;  // the chunks of the bucket that is read
  size_t epoch_bucket_ = 0;       // that bucket
  uint32_t range_ = 0;            // its first receiver
  bool exact_ = false;            // it was, or became, exact
  Partition partition_;
  std::span<const uint32_t> keys_;
  int64_t last_key_ = -1;
  uint64_t epochs_ = 0;

  std::vector<BulkPages> pieces_;
  std::vector<LogChunk*> free_;
};

}  // namespace hanse
