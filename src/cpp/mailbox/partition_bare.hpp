// What a batch of messages costs at least: the copy in, the order of receivers, the copy out.
#pragma once

#include <cstdint>
#include <span>

namespace hanse {

// Copies rows of 64 bytes to where they are kept, puts numbers of them in the stable order of their
// receivers (counting sort in one pass, or
// radix sort in two), and copies them out in that order: no bounds, sequences, senders
// or deadlines. The limit beside which a benchmark prints what a mailbox does.
//
//   receivers  [n], each < receiver_count
//   rows       [n, 64]
//   rows_out   [n, 64], not rows
//
// Throws dimension_mismatch, out_of_range (receivers).
void copy_by_receiver(std::span<const uint32_t> receivers, uint32_t receiver_count,
                      std::span<const uint8_t> rows, std::span<uint8_t> rows_out);

}  // namespace hanse
