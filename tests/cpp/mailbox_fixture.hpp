// What the mailbox tests share: short names for making and reading messages.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "mailbox/mailbox.hpp"

namespace hanse {

inline AgentId agent(uint32_t index) { return make_id(index, 1); }
inline Bytes bytes_of(const std::vector<uint8_t>& bytes) { return {bytes.data(), bytes.size()}; }
inline Bytes bytes_of(const uint64_t& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}
inline uint64_t number_in(const Message& message) {
  uint64_t value = 0;
  std::memcpy(&value, message.payload.data(), sizeof value);
  return value;
}
inline std::vector<uint8_t> patterned(size_t size, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = uint8_t(random.next());
  return bytes;
}
inline MessageHeader header(AgentId sender, AgentId to, MessageKind kind = MessageKind::data) {
  MessageHeader header;
  header.sender = sender;
  header.to = to;
  header.kind = kind;
  return header;
}
inline void expect_conserved(const MailboxTable& table) {
  const MailboxCounters c = table.counters();
  ASSERT_EQ(c.accepted, c.handled + c.expired + c.cancelled + c.dead + c.queued);
}
template <class Call>
ErrorCode code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::invariant;
}

}  // namespace hanse
