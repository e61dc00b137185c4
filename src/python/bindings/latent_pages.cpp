// Views of latents without a copy, and what changes their elements.
#include "convert.hpp"
#include "latent.hpp"
#include "latent/latent.hpp"
#include "latent/transform.hpp"

namespace hanse::python {

namespace {

// bfloat16 travels as uint16, int4 as two codes a byte.
py::dtype dtype_of(LatentDtype dtype) {
  switch (dtype) {
    case LatentDtype::float32:
      return py::dtype::of<float>();
    case LatentDtype::float16:
      return py::dtype("float16");
    case LatentDtype::bfloat16:
      return py::dtype::of<uint16_t>();
    case LatentDtype::int8:
      return py::dtype::of<int8_t>();
    case LatentDtype::int4:
      return py::dtype::of<uint8_t>();
  }
  return py::dtype::of<uint8_t>();
}

template <class T>
std::span<T> writable_of(py::array& array, const char* field) {
  if (!array.writeable()) throw Error(ErrorCode::bad_array, field, "want a writable array");
  return {static_cast<T*>(array.mutable_data()), static_cast<size_t>(array.size())};
}

}  // namespace

py::array page_array(const LatentLayout& layout, const Piece& piece, py::handle owner,
                     bool writeable) {
  const LatentSpec& spec = layout.spec;
  const py::dtype dtype = dtype_of(spec.dtype);
  const auto size = [](uint64_t value) { return static_cast<py::ssize_t>(value); };
  const uint64_t plane_bytes = layout.row_bytes * piece.page->capacity;
  const bool hnd = spec.order == LatentOrder::hnd;
  const uint64_t token_stride = hnd ? layout.dim_bytes : layout.row_bytes;
  const uint64_t head_stride = hnd ? layout.dim_bytes * piece.page->capacity : layout.dim_bytes;
  std::vector<py::ssize_t> shape{size(spec.layers)}, strides{size(plane_bytes)};
  if (spec.kind == LatentKind::kv) {
    shape.push_back(2);
    strides = {size(plane_bytes * 2), size(plane_bytes)};
  }
  for (const bool tokens : {!hnd, hnd}) {
    shape.push_back(size(tokens ? piece.count : spec.kv_heads));
    strides.push_back(size(tokens ? token_stride : head_stride));
  }
  shape.push_back(size(layout.dim_bytes) / dtype.itemsize());
  strides.push_back(dtype.itemsize());
  py::array view(dtype, shape, strides, piece.page->data + piece.first * token_stride, owner);
  if (!writeable) view.attr("flags").attr("writeable") = false;
  return view;
}

py::list latent_pages(KernelHandle& handle, AgentId reader, LatentId latent) {
  Kernel& kernel = handle.open();
  auto hold = std::make_unique<LatentHold>(
      kernel.latents().hold(latent, reader, kernel.tenant_index(reader)));
  const LatentHold& held = *hold;
  if (held.layout().group_bytes != 0)
    throw Error(ErrorCode::latent_incompatible, "pages", "quantised tokens can only be read",
                latent);
  const py::capsule owner(hold.release(),
                          [](void* address) { delete static_cast<LatentHold*>(address); });
  py::list arrays(held.pieces().size());
  for (size_t i = 0; i < held.pieces().size(); ++i)
    arrays[i] = page_array(held.layout(), held.pieces()[i], owner);
  return arrays;
}

void register_transforms(py::module_& module) {
  module
      .def("latent_rope_shift",
           [](const LatentSpec& spec, py::object kv, uint32_t tokens, py::object shift) {
             py::array array = array_of<float>(kv, "kv", 5);
             const int64_t by =
                 signed_of(shift, "shift", -int64_t(UINT32_MAX), int64_t(UINT32_MAX));
             const std::span<float> values = writable_of<float>(array, "kv");
             unlocked([&] { rope_shift(spec, values, tokens, by); });
           })
      .def("latent_kivi_size",
           [](const LatentSpec& spec, uint32_t tokens, uint32_t bits, uint32_t recent) {
             return kivi_size_bytes(spec, tokens, bits, recent);
           })
      .def("latent_kivi_quantise",
           [](const LatentSpec& spec, py::object kv, uint32_t tokens, uint32_t bits,
              uint32_t recent, py::object packed_out) {
             const py::array array = array_of<float>(kv, "kv", 5);
             py::array out = array_of<uint8_t>(packed_out, "out", 1);
             const std::span<uint8_t> packed = writable_of<uint8_t>(out, "out");
             unlocked(
                 [&] { kivi_quantise(spec, span_of<float>(array), tokens, bits, recent, packed); });
           })
      .def("latent_kivi_dequantise", [](const LatentSpec& spec, py::object packed, uint32_t tokens,
                                        uint32_t bits, uint32_t recent, py::object kv_out) {
        const py::array array = array_of<uint8_t>(packed, "packed", 1);
        py::array out = array_of<float>(kv_out, "out", 5);
        const std::span<float> values = writable_of<float>(out, "out");
        unlocked(
            [&] { kivi_dequantise(spec, span_of<uint8_t>(array), tokens, bits, recent, values); });
      });
}

}  // namespace hanse::python
