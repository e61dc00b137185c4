// Many messages in one call.
#include "mailbox/state.hpp"

namespace hanse {

void MailboxTable::send_many(AgentId sender, std::span<const AgentId> to,
                             MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                             std::span<Outcome> outcomes_out) {
  const size_t count = to.size(), width = payloads.columns;
  if (payloads.rows != count)
    throw Error(ErrorCode::dimension_mismatch, "payloads", payloads.rows, count);
  if (outcomes_out.size() != count)
    throw Error(ErrorCode::dimension_mismatch, "outcomes", outcomes_out.size(), count);
  if (!sizes.empty() && sizes.size() != count)
    throw Error(ErrorCode::dimension_mismatch, "sizes", sizes.size(), count);
  for (const uint32_t size : sizes)
    if (size > width) throw Error(ErrorCode::out_of_range, "sizes", size, width);

  State& state = *state_;
  const bool owned = owner_.caller();
  if (owned && state.ring.pending()) state.empty_ring();
  if (owned && state.boxes.size() < state.agent_count.load(std::memory_order_acquire)) state.grow();

  // The box is fetched a few messages before it is needed: at a million agents it is in no cache.
  constexpr size_t ahead = 8;
  const ZeroedArray<Box>& boxes = state.boxes;
  const size_t box_count = owned ? state.boxes.size() : 0;
  MessageHeader header;
  header.sender = sender;
  for (size_t i = 0; i < count; ++i) {
    if (i + ahead < count && index_of(to[i + ahead]) < box_count)
      __builtin_prefetch(&boxes[index_of(to[i + ahead])], 1);
    header.to = to[i];
    const size_t size = sizes.empty() ? width : sizes[i];
    if (size > state.options.payload_size_bytes_max)
      outcomes_out[i] = state.refuse(Outcome::too_large);
    else if (!state.exists(to[i]))
      outcomes_out[i] = state.refuse(Outcome::unknown);
    else if (owned)
      outcomes_out[i] = state.send_owned(header, payloads.row(i), uint32_t(size));
    else
      outcomes_out[i] = state.send_foreign(header, Bytes{payloads.row(i), size});
  }
}

}  // namespace hanse
