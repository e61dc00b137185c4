#include "latent/layout.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/error.hpp"
#include "latent/transform.hpp"
#include "latent/transform_table.hpp"

namespace hanse {

namespace {

constexpr uint32_t extent_max = 1u << 16;  // of layers, kv_heads, head_dim: no product overflows
constexpr uint64_t stream_run_bytes_min = 256;
constexpr uint64_t small_run_bytes = 128;
constexpr uint32_t scratch_floats = 4096;  // stays in the first-level cache

void check_quantised(const LatentSpec& spec) {
  if (spec.quantised == 0) return;
  if (spec.quantised != 8 && spec.quantised != 4)
    throw Error(ErrorCode::out_of_range, "quantised",
                "want 0, 8 or 4, have " + std::to_string(spec.quantised));
  if (spec.kind != LatentKind::kv || spec.dtype > LatentDtype::bfloat16)
    throw Error(ErrorCode::latent_incompatible, "quantised", "only keys and values in floats are");
  if (spec.head_dim > quantise_dim_max || spec.head_dim % 2 != 0)
    throw Error(ErrorCode::out_of_range, "head_dim",
                "want an even number up to 1024, have " + std::to_string(spec.head_dim));
  if (spec.recent > extent_max)
    throw Error(ErrorCode::out_of_range, "recent", spec.recent, extent_max);
}

uint64_t group_bytes_of(const LatentSpec& spec) {
  if (spec.quantised == 0) return 0;
  return uint64_t(spec.layers) * spec.kv_heads *
         (packed_bytes(spec, spec.head_dim) + packed_bytes(spec, quantise_group_tokens));
}

uint64_t dim_bytes_of(const LatentSpec& spec) {
  const auto within = [](const char* field, uint32_t value) {
    if (value == 0) throw Error(ErrorCode::out_of_range, field, "0 where at least 1 is needed");
    if (value > extent_max) throw Error(ErrorCode::out_of_range, field, value, extent_max);
  };
  within("layers", spec.layers);
  within("kv_heads", spec.kv_heads);
  within("head_dim", spec.head_dim);
  if (spec.rotary_dim > spec.head_dim || spec.rotary_dim % 2 != 0)
    throw Error(ErrorCode::out_of_range, "rotary_dim",
                "want an even number up to head_dim, have " + std::to_string(spec.rotary_dim));
  check_quantised(spec);
  const uint64_t bits = uint64_t(spec.head_dim) * latent_dtype_bits(spec.dtype);
  if (bits % 8 != 0)
    throw Error(ErrorCode::out_of_range, "head_dim",
                "int4 needs an even one, have " + std::to_string(spec.head_dim));
  return bits / 8;
}

// Some tokens of one plane.
struct Side {
  uint8_t* data;
  uint64_t token_stride, head_stride;
};

bool tokens_touch(const Side& side, uint64_t dim_bytes, uint64_t row_bytes) {
  return side.head_stride == dim_bytes && side.token_stride == row_bytes;
}

// Calls `copy(to, from, rows)` for each run of head rows that is contiguous on both sides.
template <class Copy>
void for_runs(const Side& to, uint64_t to_dim, const Side& from, uint64_t from_dim, uint32_t tokens,
              uint32_t heads, Copy&& copy) {
  if (tokens_touch(to, to_dim, to_dim * heads) && tokens_touch(from, from_dim, from_dim * heads))
    return copy(to.data, from.data, uint64_t(tokens) * heads);
  const bool by_head = to.token_stride == to_dim && from.token_stride == from_dim;
  const bool by_token = to.head_stride == to_dim && from.head_stride == from_dim;
  const uint32_t outer = by_head ? heads : tokens, inner = by_head || by_token ? 1 : heads;
  for (uint32_t i = 0; i < outer; ++i)
    for (uint32_t j = 0; j < inner; ++j) {
      const uint64_t token = by_head ? 0 : i, head = by_head ? i : j;
      copy(to.data + token * to.token_stride + head * to.head_stride,
           from.data + token * from.token_stride + head * from.head_stride,
           uint64_t(by_head    ? tokens
                    : by_token ? heads
                               : 1));
    }
}

class Copier {
 public:
  Copier(uint64_t dim_bytes, uint64_t total_bytes)
      : dim_bytes_(dim_bytes),
        table_(transform_table()),
        stream_(total_bytes >= stream_size_bytes_min) {}
  ~Copier() {
    if (stream_) table_.fence();
  }
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  void operator()(uint8_t* to, const uint8_t* from, uint64_t rows) const {
    const uint64_t size_bytes = rows * dim_bytes_;
    if (stream_ && size_bytes >= stream_run_bytes_min)
      table_.stream(to, from, size_bytes);
    else if (size_bytes == small_run_bytes)
      std::memcpy(to, from, small_run_bytes);  // Of a known size it is no call.
    else
      std::memcpy(to, from, size_bytes);
  }

 private:
  const uint64_t dim_bytes_;
  const TransformTable& table_;
  const bool stream_;
};

// To float32 in the scratch, turned there, and out again in the dtype that is wanted.
class Changer {
 public:
  Changer(const LatentSpec& spec, LatentDtype to, const RopeTurn* turn, uint64_t total_bytes)
      : dim_(spec.head_dim),
        from_(spec.dtype),
        to_(to),
        turn_(turn),
        table_(transform_table()),
        stream_(total_bytes >= stream_size_bytes_min) {}

  // The rows of one run; `keys`: they are turned.
  void operator()(uint8_t* to, const uint8_t* from, uint64_t rows, bool keys) const {
    if (keys && turn_ && from_ == LatentDtype::float32 && to_ == LatentDtype::float32 &&
        (reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 == 0 &&
        turn_->apply_to(table_, reinterpret_cast<float*>(to), reinterpret_cast<const float*>(from),
                        rows, stream_))
      return;
    const uint64_t from_dim = dim_ * latent_dtype_bits(from_) / 8;
    const uint64_t to_dim = dim_ * latent_dtype_bits(to_) / 8;
    const uint64_t rows_max = std::max<uint64_t>(scratch_floats / dim_, 1);
    alignas(64) float values[extent_max];
    alignas(64) uint16_t narrow[extent_max];
    for (uint64_t row = 0; row < rows; row += rows_max) {
      const uint64_t count = std::min(rows_max, rows - row), floats = count * dim_;
      load(values, from + row * from_dim, floats);
      if (keys && turn_) turn_->apply(table_, values, count);
      const auto* bytes = reinterpret_cast<const uint8_t*>(values);
      if (to_ != LatentDtype::float32) {
        (to_ == LatentDtype::float16 ? table_.half_from_float : table_.brain_from_float)(
            narrow, values, floats);
        bytes = reinterpret_cast<const uint8_t*>(narrow);
      }
      if (stream_)
        table_.stream(to + row * to_dim, bytes, count * to_dim);
      else
        std::memcpy(to + row * to_dim, bytes, count * to_dim);
    }
  }

  void fence() const {
    if (stream_) table_.fence();
  }

 private:
  void load(float* values, const uint8_t* from, uint64_t count) const {
    const auto* narrow = reinterpret_cast<const uint16_t*>(from);
    if (from_ == LatentDtype::float32)
      std::memcpy(values, from, count * sizeof(float));
    else if (from_ == LatentDtype::float16)
      table_.float_from_half(values, narrow, count);
    else
      table_.float_from_brain(values, narrow, count);
  }

  const uint32_t dim_;
  const LatentDtype from_, to_;
  const RopeTurn* const turn_;
  const TransformTable& table_;
  const bool stream_;
};

Side page_side(const LatentLayout& layout, const Page& page, uint64_t plane, uint32_t token) {
  const uint64_t plane_bytes = layout.row_bytes * page.capacity;
  const bool hnd = layout.spec.order == LatentOrder::hnd;
  const uint64_t token_stride = hnd ? layout.dim_bytes : layout.row_bytes;
  return {page.data + plane * plane_bytes + token * token_stride, token_stride,
          hnd ? layout.dim_bytes * page.capacity : layout.dim_bytes};
}

Side caller_side(const LatentSides& sides, uint64_t plane, uint64_t token) {
  return {sides.planes[plane] + token * sides.token_stride, sides.token_stride, sides.head_stride};
}

bool is_float(LatentDtype dtype) { return dtype <= LatentDtype::bfloat16; }

}  // namespace

LatentLayout::LatentLayout(const LatentSpec& wanted)
    : spec(wanted),
      fingerprint(latent_fingerprint(wanted)),
      dim_bytes(dim_bytes_of(wanted)),
      row_bytes(dim_bytes * wanted.kv_heads),
      plane_count(wanted.plane_count()),
      page_bytes(row_bytes * plane_count * latent_page_tokens),
      group_bytes(group_bytes_of(wanted)) {}

std::shared_ptr<const LatentLayout> latent_layout(const LatentSpec& spec) {
  thread_local std::array<std::shared_ptr<const LatentLayout>, 8> known;
  thread_local uint32_t next = 0;
  for (const auto& layout : known)
    if (layout && layout->spec == spec) return layout;
  auto layout = std::make_shared<const LatentLayout>(spec);
  known[next++ % known.size()] = layout;
  return layout;
}

void LatentLayout::check_size(const char* field, uint64_t size_bytes, uint32_t tokens) const {
  const auto want = static_cast<unsigned __int128>(token_bytes()) * tokens;
  if (size_bytes == want) return;
  throw Error(ErrorCode::dimension_mismatch, field,
              std::to_string(size_bytes) + " bytes where " + std::to_string(tokens) +
                  " tokens of " + std::to_string(token_bytes()) + " bytes are needed");
}

void LatentLayout::check_sides(const char* field, const LatentSides& sides) const {
  if (sides.planes.size() != plane_count)
    throw Error(ErrorCode::dimension_mismatch, field,
                "want " + std::to_string(plane_count) + " planes, have " +
                    std::to_string(sides.planes.size()));
}

void LatentLayout::check_reading(const LatentReading& reading, LatentId latent) const {
  if (reading.dtype != spec.dtype && !(is_float(reading.dtype) && is_float(spec.dtype)))
    throw Error(ErrorCode::latent_incompatible, "dtype",
                std::string("want ") + latent_dtype_name(reading.dtype) + ", have " +
                    latent_dtype_name(spec.dtype),
                latent);
  if (reading.shift == 0) return;
  if (spec.kind != LatentKind::kv || !is_float(spec.dtype))
    throw Error(ErrorCode::latent_incompatible, "shift", "only keys in floats can be turned",
                latent);
}

LatentSides LatentLayout::contiguous(uint8_t* data, uint32_t tokens) const {
  return contiguous(data, tokens, spec.dtype);
}

LatentSides LatentLayout::contiguous(uint8_t* data, uint32_t tokens, LatentDtype dtype) const {
  const uint64_t dim = uint64_t(spec.head_dim) * latent_dtype_bits(dtype) / 8;
  LatentSides sides;
  sides.planes.reserve(plane_count);
  for (uint64_t plane = 0; plane < plane_count; ++plane)
    sides.planes.push_back(data + plane * tokens * dim * spec.kv_heads);
  const bool hnd = spec.order == LatentOrder::hnd;
  sides.token_stride = hnd ? dim : dim * spec.kv_heads;
  sides.head_stride = hnd ? dim * tokens : dim;
  return sides;
}

// Plane by plane: the caller's memory is read, or written, in one stream.
void LatentLayout::scatter(const LatentSides& kv, uint32_t tokens, std::span<Page* const> pages,
                           uint32_t first) const {
  const Copier copy(dim_bytes, token_bytes() * tokens);
  const uint32_t capacity = pages[0]->capacity;
  for (uint64_t plane = 0; plane < plane_count; ++plane) {
    size_t index = first / capacity;
    uint32_t in_page = first % capacity;
    for (uint32_t done = 0; done < tokens; in_page = 0) {
      const Page& page = *pages[index++];
      const uint32_t count = std::min(capacity - in_page, tokens - done);
      for_runs(page_side(*this, page, plane, in_page), dim_bytes, caller_side(kv, plane, done),
               dim_bytes, count, spec.kv_heads, copy);
      done += count;
    }
  }
  const uint32_t end = (first + tokens) % pages[0]->capacity;
  for (Page* page : pages.first((first + tokens) / pages[0]->capacity))
    note_used(*page, page->capacity);
  if (end != 0) zero_tail(*pages[(first + tokens) / pages[0]->capacity], end);
}

void LatentLayout::gather(std::span<const Piece> pieces, const LatentSides& kv_out) const {
  gather(pieces, kv_out, {spec.dtype, 0});
}

void LatentLayout::gather(std::span<const Piece> pieces, const LatentSides& kv_out,
                          const LatentReading& reading) const {
  if (group_bytes == 0) return gather_plain(pieces, kv_out, reading);
  std::optional<RopeTurn> turn;
  if (reading.shift != 0) turn.emplace(spec, reading.shift);
  gather_packed(pieces, kv_out, reading, turn ? &*turn : nullptr);
}

void LatentLayout::copy_out(std::span<const Piece> pieces, const LatentSides& kv_out) const {
  uint64_t total = 0;
  for (const Piece& piece : pieces) total += piece.count;
  const Copier copy(dim_bytes, token_bytes() * total);
  for (uint64_t plane = 0; plane < plane_count; ++plane) {
    uint64_t at = 0;
    for (const Piece& piece : pieces) {
      for_runs(caller_side(kv_out, plane, at), dim_bytes,
               page_side(*this, *piece.page, plane, piece.first), dim_bytes, piece.count,
               spec.kv_heads, copy);
      at += piece.count;
    }
  }
}

void LatentLayout::gather_plain(std::span<const Piece> pieces, const LatentSides& kv_out,
                                const LatentReading& reading) const {
  if (reading.dtype == spec.dtype && reading.shift == 0) return copy_out(pieces, kv_out);
  uint64_t total = 0;
  for (const Piece& piece : pieces) total += piece.count;
  std::optional<RopeTurn> turn;
  if (reading.shift != 0) turn.emplace(spec, reading.shift);
  const Changer change(spec, reading.dtype, turn ? &*turn : nullptr, token_bytes() * total);
  const Copier copy(dim_bytes, token_bytes() * total);
  const uint64_t out_dim = uint64_t(spec.head_dim) * latent_dtype_bits(reading.dtype) / 8;
  for (uint64_t plane = 0; plane < plane_count; ++plane) {
    const bool keys = plane % 2 == 0;
    uint64_t at = 0;
    for (const Piece& piece : pieces) {
      const Side to = caller_side(kv_out, plane, at);
      const Side from = page_side(*this, *piece.page, plane, piece.first);
      if (reading.dtype == spec.dtype && !keys)
        for_runs(to, dim_bytes, from, dim_bytes, piece.count, spec.kv_heads, copy);
      else
        for_runs(
            to, out_dim, from, dim_bytes, piece.count, spec.kv_heads,
            [&](uint8_t* out, const uint8_t* in, uint64_t rows) { change(out, in, rows, keys); });
      at += piece.count;
    }
  }
  change.fence();
}

void LatentLayout::copy_head(const Piece& piece, Page& to) const {
  const Copier copy(dim_bytes, 0);
  for (uint64_t plane = 0; plane < plane_count; ++plane)
    for_runs(page_side(*this, to, plane, 0), dim_bytes,
             page_side(*this, *piece.page, plane, piece.first), dim_bytes, piece.count,
             spec.kv_heads, copy);
}

uint64_t LatentLayout::shape() const { return row_bytes << 1 | uint64_t(spec.order); }

void LatentLayout::note_used(Page& page, uint32_t tokens) const {
  page.used_shape = shape();
  page.used_capacity = page.capacity;
  page.used = tokens;
}

// So that nothing of what the page held before can be seen in the room that is left.
void LatentLayout::zero_tail(Page& page, uint32_t filled) const {
  const bool same = page.used_shape == shape() && page.used_capacity == page.capacity;
  const uint32_t used = page.used == 0 || same ? page.used : page.capacity;
  note_used(page, filled);
  if (used <= filled) return;
  for (uint64_t plane = 0; plane < plane_count; ++plane) {
    const Side side = page_side(*this, page, plane, filled);
    const uint32_t left = used - filled;
    if (spec.order == LatentOrder::nhd) {
      std::memset(side.data, 0, left * row_bytes);
      continue;
    }
    for (uint32_t head = 0; head < spec.kv_heads; ++head)
      std::memset(side.data + head * side.head_stride, 0, left * dim_bytes);
  }
}

}  // namespace hanse
