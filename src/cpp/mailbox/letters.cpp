#include "mailbox/letters.hpp"

#include <algorithm>
#include <cstring>

namespace hanse {

Payload DeadLetters::let_go(Letter& letter) {
  buffer_bytes_ -= held(letter);
  return std::move(letter.payload);
}

// Cuts the oldest until the rest is within the bound.
void DeadLetters::shrink(std::vector<Payload>& dropped) {
  cut_until_ = std::max(cut_until_, next_ - std::min<uint64_t>(next_, ring_.size()));
  for (; buffer_bytes_ > buffer_bytes_max_ && cut_until_ < next_; ++cut_until_) {
    Letter& letter = ring_[cut_until_ % count_max];
    if (held(letter) != 0) dropped.push_back(let_go(letter));
  }
}

void DeadLetters::keep(const MessageHeader& header, Outcome reason, Bytes payload,
                       PayloadBuffer* buffer) {
  std::vector<Payload> dropped;  // Let go outside the lock: an owner's callback may do anything.
  const std::lock_guard lock(mutex_);
  if (ring_.size() < count_max) ring_.emplace_back();
  Letter& letter = ring_[next_ % count_max];
  if (letter.payload) dropped.push_back(let_go(letter));
  letter.number = next_++;
  letter.header = header;
  letter.reason = reason;
  letter.there = true;
  letter.claimed = false;
  letter.size = payload.size();
  letter.first.fill(0);
  if (!payload.empty())
    std::memcpy(letter.first.data(), payload.data(),
                std::min<size_t>(payload.size(), message_inline_bytes));
  if (!buffer) return;
  letter.payload = Payload::share(buffer);
  buffer_bytes_ += held(letter);
  shrink(dropped);
}

std::vector<DeadLetter> DeadLetters::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<DeadLetter> letters;
  letters.reserve(ring_.size());
  for (uint64_t number = next_ - ring_.size(); number != next_; ++number) {
    const Letter& letter = ring_[number % count_max];
    if (!letter.there) continue;
    DeadLetter& out = letters.emplace_back();
    out.number = letter.number;
    out.header = letter.header;
    out.reason = letter.reason;
    out.size = letter.size;
    out.cut = letter.cut();
    const Bytes kept = letter.payload ? letter.payload.bytes()
                                      : Bytes{letter.first.data(),
                                              std::min<size_t>(letter.size, message_inline_bytes)};
    out.payload.assign(kept.begin(), kept.end());
  }
  return letters;
}

DeadLetters::Letter* DeadLetters::find(uint64_t number) {
  if (number >= next_ || ring_.empty()) return nullptr;
  Letter& letter = ring_[number % count_max];
  return letter.number == number && letter.there ? &letter : nullptr;
}

std::optional<DeadLetters::Claimed> DeadLetters::claim(uint64_t number) {
  const std::lock_guard lock(mutex_);
  Letter* letter = find(number);
  if (!letter || letter->claimed) return std::nullopt;
  Claimed claimed;
  claimed.header = letter->header;
  claimed.cut = letter->cut();
  claimed.payload = letter->payload;
  if (!letter->payload && !claimed.cut)
    claimed.inline_bytes.assign(letter->first.begin(),
                                letter->first.begin() + ptrdiff_t(letter->size));
  letter->claimed = true;
  return claimed;
}

void DeadLetters::give_back(uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (Letter* letter = find(number)) letter->claimed = false;
}

void DeadLetters::remove(uint64_t number) {
  Payload dropped;
  const std::lock_guard lock(mutex_);
  Letter* letter = find(number);
  if (!letter) return;
  dropped = let_go(*letter);
  letter->there = false;
}

}  // namespace hanse
