// Latents in C; see hanse_latent.h.
#include <algorithm>

#include "base/device.hpp"
#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

struct hanse_latent_view {
  LatentHold hold;
};

namespace {

static_assert(sizeof(hanse_latent_spec) == 72);
static_assert(sizeof(hanse_latent_data) == 32);
static_assert(sizeof(hanse_latent_terms) == 64);
static_assert(sizeof(hanse_latent_info) == 96);
static_assert(sizeof(hanse_latent_piece) == 40);
static_assert(int(hanse_latent_int4) == int(LatentDtype::int4));
static_assert(int(hanse_latent_hidden) == int(LatentKind::hidden));
static_assert(int(hanse_latent_hnd) == int(LatentOrder::hnd));
static_assert(int(hanse_rope_gptj) == int(RopePairing::gptj));

template <class T>
T choice_of(int32_t value, int32_t most, const char* field) {
  if (value < 0 || value > most)
    throw Error(ErrorCode::out_of_range, field,
                std::to_string(value) + " is outside 0 … " + std::to_string(most));
  return T(value);
}

LatentSpec spec_of(const hanse_latent_spec* given) {
  const hanse_latent_spec& from = read_struct(given, "spec");
  LatentSpec spec;
  spec.model = &required(from.model, "spec.model");
  spec.tokenizer = text_or(from.tokenizer, "");
  spec.rope_scaling = text_or(from.rope_scaling, "");
  spec.layers = from.layers;
  spec.kv_heads = from.kv_heads;
  spec.head_dim = from.head_dim;
  spec.dtype = choice_of<LatentDtype>(from.dtype, hanse_latent_int4, "spec.dtype");
  spec.kind = choice_of<LatentKind>(from.kind, hanse_latent_hidden, "spec.kind");
  spec.order = choice_of<LatentOrder>(from.order, hanse_latent_hnd, "spec.order");
  spec.rope_pairing =
      choice_of<RopePairing>(from.rope_pairing, hanse_rope_gptj, "spec.rope_pairing");
  spec.rotary_dim = from.rotary_dim;
  spec.position_max = from.position_max;
  spec.rope_base_micro = from.rope_base_micro;
  return spec;
}

LatentTerms terms_of(const hanse_latent_terms* given, uint32_t token_count) {
  LatentTerms terms;
  if (given == nullptr) return terms;
  const hanse_latent_terms& from = read_struct(given, "terms");
  expect_zero(from.zero, "terms.zero");
  if (from.tokens != nullptr) terms.tokens = {from.tokens, token_count};
  terms.position_base = from.position_base;
  terms.step = from.step;
  terms.lease_ns = from.lease_ns;
  terms.label = from.label;
  terms.price = from.price;
  if (from.gloss != nullptr) terms.gloss = from.gloss;
  terms.whole = flag_of(from.whole, "terms.whole");
  return terms;
}

// A caller's planes on the host: where they lie, or a copy of what lies on a device.
class Data {
 public:
  Data(const hanse_latent_data* given, const char* field, uint64_t wanted_bytes)
      : from_(read_struct(given, field)) {
    const bool device = choice_of<int>(from_.place, hanse_place_cuda, "data.place") != 0;
    if (from_.data_size != wanted_bytes)
      throw Error(ErrorCode::dimension_mismatch, std::string(field) + ".data_size",
                  "want " + std::to_string(wanted_bytes) + " bytes, have " +
                      std::to_string(from_.data_size));
    required(static_cast<uint8_t*>(from_.data), field);
    if (!device && from_.stream != nullptr)
      throw Error(ErrorCode::out_of_range, std::string(field) + ".stream",
                  "is given for memory of the host");
    if (!device) return;
    table_ = &device_table();
    copy_.resize(wanted_bytes);
  }
  uint8_t* host() { return table_ == nullptr ? static_cast<uint8_t*>(from_.data) : copy_.data(); }
  void read() {
    if (table_ == nullptr) return;
    check_device(*table_, "copy_from_device",
                 table_->copy_from_device(copy_.data(), from_.data, copy_.size(), from_.stream));
    check_device(*table_, "synchronize", table_->synchronize(from_.stream));
  }
  void write() {
    if (table_ == nullptr) return;
    check_device(*table_, "copy_to_device",
                 table_->copy_to_device(from_.data, copy_.data(), copy_.size(), from_.stream));
    check_device(*table_, "synchronize", table_->synchronize(from_.stream));
  }

 private:
  const hanse_latent_data from_;
  const DeviceTable* table_ = nullptr;
  std::vector<uint8_t> copy_;
};

LatentInfo info_of(Kernel& kernel, AgentId reader, hanse_latent latent) {
  return kernel.latents().info(latent, reader, kernel.tenant_index(reader));
}

}  // namespace

extern "C" {

hanse_status hanse_latent_put(hanse_kernel* kernel, hanse_id owner, const hanse_latent_spec* spec,
                              uint32_t token_count, const hanse_latent_data* from,
                              const hanse_latent_terms* terms, hanse_latent* latent_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(latent_out, "latent_out") = 0;
    const AgentId me = actor_of(in, owner);
    const LatentLayout layout(spec_of(spec));
    const LatentTerms said = terms_of(terms, token_count);
    Data data(from, "from", layout.token_bytes() * token_count);
    data.read();
    *latent_out = in.latents().put(me, in.tenant_index(me), layout.spec,
                                   layout.contiguous(data.host(), token_count), token_count, said);
    return 0;
  });
}

hanse_status hanse_latent_append(hanse_kernel* kernel, hanse_id owner, hanse_latent latent,
                                 uint32_t token_count, const hanse_latent_data* from,
                                 const uint32_t* tokens, uint64_t step, hanse_latent* latent_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(latent_out, "latent_out") = 0;
    const AgentId me = actor_of(in, owner);
    const LatentInfo before = info_of(in, me, latent);
    const LatentLayout layout(before.spec);
    Data data(from, "from", layout.token_bytes() * token_count);
    data.read();
    std::span<const uint32_t> ids;
    if (tokens != nullptr) ids = {tokens, token_count};
    *latent_out = in.latents().append(latent, me, in.tenant_index(me),
                                      layout.contiguous(data.host(), token_count), token_count, ids,
                                      step, before.position_base + before.tokens);
    return 0;
  });
}

hanse_status hanse_latent_fork(hanse_kernel* kernel, hanse_id owner, hanse_latent latent,
                               hanse_latent* latent_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const AgentId me = actor_of(in, owner);
    required(latent_out, "latent_out") = in.latents().fork(latent, me, in.tenant_index(me));
    return 0;
  });
}

hanse_status hanse_latent_slice(hanse_kernel* kernel, hanse_id owner, hanse_latent latent,
                                uint32_t first, uint32_t count, hanse_latent* latent_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const AgentId me = actor_of(in, owner);
    required(latent_out, "latent_out") =
        in.latents().slice(latent, me, in.tenant_index(me), first, count);
    return 0;
  });
}

hanse_status hanse_latent_release(hanse_kernel* kernel, hanse_latent latent) {
  return guard([&] {
    open_kernel(kernel).latents().release(latent);
    return 0;
  });
}

hanse_status hanse_latent_grant(hanse_kernel* kernel, hanse_latent latent, hanse_id reader,
                                uint64_t clearance) {
  return guard([&] {
    open_kernel(kernel).latents().grant(latent, reader, clearance);
    return 0;
  });
}

hanse_status hanse_latent_revoke(hanse_kernel* kernel, hanse_latent latent, hanse_id reader) {
  return guard([&] {
    const bool there = open_kernel(kernel).latents().revoke(latent, reader);
    return there ? 0 : int(hanse_outcome_unknown);
  });
}

hanse_status hanse_latent_describe(hanse_kernel* kernel, hanse_id reader, hanse_latent latent,
                                   hanse_latent_info* info_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    check_size(info_out, "info_out");
    const LatentInfo info = info_of(in, actor_of(in, reader), latent);
    hanse_latent_info out{};
    out.tokens = info.tokens;
    out.position_base = info.position_base;
    out.owner = info.owner;
    out.data_size = info.size_bytes;
    out.lease_ns = info.lease_ns;
    out.label = info.label;
    out.price = info.price;
    out.step = info.step;
    std::copy(info.fingerprint.begin(), info.fingerprint.end(), out.fingerprint);
    write_struct(out, *info_out);
    return 0;
  });
}

hanse_status hanse_latent_read(hanse_kernel* kernel, hanse_id reader, hanse_latent latent,
                               const hanse_latent_spec* want, const hanse_latent_data* to) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const AgentId me = actor_of(in, reader);
    const LatentInfo info = info_of(in, me, latent);
    LatentSpec wanted;
    if (want != nullptr) wanted = spec_of(want);
    Data data(to, "to", info.size_bytes);
    in.latents().read_into(latent, me, in.tenant_index(me), want == nullptr ? nullptr : &wanted,
                           std::span<uint8_t>(data.host(), info.size_bytes));
    data.write();
    return 0;
  });
}

hanse_status hanse_latent_prefix(hanse_kernel* kernel, hanse_id reader,
                                 const hanse_latent_spec* spec, const uint32_t* tokens,
                                 uint32_t token_count, hanse_latent* latent_out,
                                 uint32_t* matched_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(latent_out, "latent_out") = 0;
    required(matched_out, "matched_out") = 0;
    const AgentId me = actor_of(in, reader);
    const LatentPool::Prefix found = in.latents().longest_prefix(
        me, in.tenant_index(me), spec_of(spec), required_array(tokens, token_count, "tokens"));
    *latent_out = found.matched == 0 ? 0 : found.latent;
    *matched_out = found.matched;
    return 0;
  });
}

hanse_status hanse_latent_view_create(hanse_kernel* kernel, hanse_id reader, hanse_latent latent,
                                      hanse_latent_view** view_out, uint32_t* piece_count_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(view_out, "view_out") = nullptr;
    required(piece_count_out, "piece_count_out") = 0;
    const AgentId me = actor_of(in, reader);
    auto view = std::make_unique<hanse_latent_view>();
    view->hold = in.latents().hold(latent, me, in.tenant_index(me));
    *piece_count_out = uint32_t(view->hold.pieces().size());
    *view_out = view.release();
    return 0;
  });
}

hanse_status hanse_latent_view_piece(const hanse_latent_view* view, uint32_t index,
                                     hanse_latent_piece* piece_out) {
  return guard([&] {
    const LatentHold& hold = required(view, "view").hold;
    check_size(piece_out, "piece_out");
    if (index >= hold.pieces().size())
      throw Error(ErrorCode::out_of_range, "index",
                  std::to_string(index) + " where there are " +
                      std::to_string(hold.pieces().size()) + " pieces");
    const LatentLayout& layout = hold.layout();
    const Piece& piece = hold.pieces()[index];
    const bool hnd = layout.spec.order == LatentOrder::hnd;
    hanse_latent_piece out{};
    out.token_count = piece.count;
    out.token_stride = hnd ? layout.dim_bytes : layout.row_bytes;
    out.head_stride = hnd ? layout.dim_bytes * piece.page->capacity : layout.dim_bytes;
    out.plane_stride = layout.row_bytes * piece.page->capacity;
    out.data = piece.page->data + piece.first * out.token_stride;
    write_struct(out, *piece_out);
    return 0;
  });
}

hanse_status hanse_latent_view_destroy(hanse_latent_view* view) {
  return guard([&] {
    delete view;
    return 0;
  });
}

}  // extern "C"
