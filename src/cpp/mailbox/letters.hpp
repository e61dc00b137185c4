// The newest messages that nobody handled, and why.
#pragma once

#include <array>
#include <mutex>
#include <optional>
#include <vector>

#include "mailbox/mailbox.hpp"

namespace hanse {

// Any thread.
class DeadLetters {
 public:
  static constexpr size_t count_max = 1024;

  // Buffers of dead letters hold at most `buffer_bytes_max`: beyond, the oldest are cut.
  explicit DeadLetters(uint64_t buffer_bytes_max) : buffer_bytes_max_(buffer_bytes_max) {}

  // `buffer` (null: none) is shared, not taken over. Without one at most 64 bytes are kept.
  void keep(const MessageHeader& header, Outcome reason, Bytes payload, PayloadBuffer* buffer);
  std::vector<DeadLetter> list() const;
  // Sends one again, as it was but without its deadline: send(header, payload, bytes), where bytes
  // are it if payload is empty, -> an Outcome. ok, dropped: it is no letter any more. unknown:
  // there is none of that number; too_large: it was cut.
  template <class Send>
  Outcome resend(uint64_t number, Send&& send) {
    std::optional<Claimed> letter = claim(number);
    if (!letter) return Outcome::unknown;
    Outcome outcome = Outcome::too_large;
    try {
      letter->header.deadline_ns = 0;
      if (!letter->cut)
        outcome = send(letter->header, std::move(letter->payload), Bytes(letter->inline_bytes));
    } catch (...) {
      give_back(number);
      throw;
    }
    if (outcome == Outcome::ok || outcome == Outcome::dropped)
      remove(number);
    else
      give_back(number);
    return outcome;
  }

 private:
  struct Claimed {
    MessageHeader header;
    Payload payload;  // empty: `inline_bytes`
    std::vector<uint8_t> inline_bytes;
    bool cut = false;
  };
  // Nobody else can claim it until it is given back; empty: there is none of that number.
  std::optional<Claimed> claim(uint64_t number);
  void give_back(uint64_t number);  // it stays a dead letter
  void remove(uint64_t number);     // it was sent again

  struct Letter {
    uint64_t number = 0;
    MessageHeader header;
    Outcome reason = Outcome::invalid;
    bool there = false, claimed = false;
    size_t size = 0;
    Payload payload;
    std::array<uint8_t, message_inline_bytes> first{};

    bool cut() const { return !payload && size > message_inline_bytes; }
  };

  Letter* find(uint64_t number);
  // Counted bytes of a buffer; an adopted one is the caller's own.
  static uint64_t held(const Letter& letter) {
    return letter.payload && !letter.payload.adopted() ? letter.payload.size() : 0;
  }
  Payload let_go(Letter& letter);
  void shrink(std::vector<Payload>& dropped);

  const uint64_t buffer_bytes_max_;
  mutable std::mutex mutex_;
  std::vector<Letter> ring_;  // letter n lies at n mod count_max
  uint64_t next_ = 0;
  uint64_t cut_until_ = 0;  // letters below hold no buffer that counts
  uint64_t buffer_bytes_ = 0;
};

}  // namespace hanse
