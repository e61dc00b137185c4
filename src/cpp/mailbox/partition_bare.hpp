// What a batch of messages costs at least: the copy in, the order of receivers, the copy out.
#pragma once

#include <cstdint>
#include <span>

namespace hanse {

// Copies rows of 64 bytes to the buckets of their receivers, sorts each bucket stably by receiver,
// and copies the rows out in that order: the work of the log without bounds, sequences, senders,
// deadlines or counters. The limit beside which a benchmark prints what a mailbox does.
//
//   receivers  [n], each < receiver_count
//   rows       [m, 64], n a multiple of m: message i is row i mod m, as where batches are reused
//   rows_out   [m, 64], not rows: message i of the order is row i mod m
//
// Throws dimension_mismatch, out_of_range (receivers).
void copy_by_receiver(std::span<const uint32_t> receivers, uint32_t receiver_count,
                      std::span<const uint8_t> rows, std::span<uint8_t> rows_out);

}  // namespace hanse
