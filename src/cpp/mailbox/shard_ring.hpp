// How messages travel from one shard to another: a ring with one producer and one consumer, whose
// positions are published in batches.
//
// It is larger than a core's own cache and smaller than the shared one: lines that were written
// back to the shared cache are read faster than those that must be fetched out of the other core.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "mailbox/bulk_pages.hpp"
#include "mailbox/message.hpp"

namespace hanse {

// One message to many of one shard: by reference, so that a publication is one cell a shard and not
// one a subscriber.
struct ShardPublication {
  MessageHeader header;  // `to` is ignored
  Payload payload;
  std::vector<AgentId> to;
};

class ShardRing {
 public:
  // What a cell holds: a message, or something else that keeps its place among the messages.
  enum class Content : uint8_t { message = 0, publication = 1, cancellation = 2 };

  struct alignas(64) Cell {
    void set_header(const MessageHeader& header) {
      to = header.to, sender = header.sender, kind = header.kind, lane = header.lane;
      request = header.request, deadline_ns = header.deadline_ns, key = header.key;
      trace = header.trace, latent = header.latent;
      content = Content::message;
    }
    void set_publication(std::unique_ptr<ShardPublication> publication) {
      set_header(publication->header);
      content = Content::publication;
      size = 0;
      ShardPublication* const taken = publication.release();
      std::memcpy(payload, &taken, sizeof taken);
    }
    std::unique_ptr<ShardPublication> publication() const {
      ShardPublication* taken;
      std::memcpy(&taken, payload, sizeof taken);
      return std::unique_ptr<ShardPublication>(taken);
    }
    // Lets go of what the cell refers to, where nobody takes it out.
    void drop() const {
      if (content == Content::publication)
        publication();
      else if (size > message_inline_bytes)
        Payload::drop(buffer());
    }
    MessageHeader header() const {
      return {to, sender, kind, lane, request, deadline_ns, key, trace, latent};
    }

    // Nothing but bytes from one agent to another.
    bool plain() const {
      return (uint64_t(kind) | lane | request | deadline_ns | key | trace | latent |
              uint64_t(content)) == 0 &&
             size <= message_inline_bytes;
    }

    PayloadBuffer* buffer() const {
      PayloadBuffer* buffer;
      std::memcpy(&buffer, payload, sizeof buffer);
      return buffer;
    }

    AgentId to, sender;
    MessageKind kind;
    uint8_t lane;
    Content content;
    uint32_t size;
    uint64_t request, deadline_ns, key, trace;
    LatentId latent;
    uint8_t payload[message_inline_bytes];  // above 64 bytes: the address of its PayloadBuffer
  };
  static_assert(sizeof(Cell) == 128);

  explicit ShardRing(size_t size_bytes)
      : cell_count_(std::bit_floor(size_bytes / sizeof(Cell))),
        pages_(cell_count_ * sizeof(Cell)),
        cells_(static_cast<Cell*>(pages_.data())) {}

  // --- producer
  // Null: full. What is written is seen after `publish`.
  Cell* push() {
    if (written_ - read_seen_ == cell_count_) {
      read_seen_ = read_.load(std::memory_order_acquire);
      if (written_ - read_seen_ == cell_count_) return nullptr;
    }
    __builtin_prefetch(&cells_[(written_ + 4) & (cell_count_ - 1)], 1);
    return &cells_[written_++ & (cell_count_ - 1)];
  }
  void take_back() { --written_; }  // the last one, which was not published
  bool unpublished() const { return written_ != written_published_; }
  // In the one order of all such operations, so that a consumer that goes to sleep either sees this
  // or is seen asleep.
  void publish() {
    written_published_ = written_;
    published_.store(written_, std::memory_order_seq_cst);
  }

  // --- consumer
  bool empty() const { return published_.load(std::memory_order_seq_cst) == taken_; }
  // Hands the cells that were published at the start to `sink(span of Cell)`, some at a time, and
  // gives their room back: a producer that waits for room should not wait for all of it.
  template <class Sink>
  size_t take_all(Sink&& sink) {
    const uint64_t end = published_.load(std::memory_order_acquire), begin = taken_;
    while (taken_ != end) {
      const uint64_t at = taken_ & (cell_count_ - 1);
      const uint64_t count = std::min({end - taken_, cell_count_ - at, cells_at_once});
      sink(std::span(cells_ + at, size_t(count)));
      taken_ += count;
      read_.store(taken_, std::memory_order_release);
    }
    return size_t(end - begin);
  }

  uint64_t memory_bytes() const { return pages_.size_bytes(); }

 private:
  static constexpr uint64_t cells_at_once = 4096;

  const uint64_t cell_count_;
  const BulkPages pages_;
  Cell* const cells_;
  // The producer's line, what it publishes, the consumer's line, what it publishes.
  alignas(64) uint64_t written_ = 0;
  uint64_t written_published_ = 0, read_seen_ = 0;
  alignas(64) std::atomic<uint64_t> published_{0};
  alignas(64) uint64_t taken_ = 0;
  alignas(64) std::atomic<uint64_t> read_{0};
};

}  // namespace hanse
