#include "latent/latent.hpp"

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

LatentSpec spec_of(py::handle model, py::handle tokenizer, py::handle layers, py::handle kv_heads,
                   py::handle head_dim, py::handle dtype, py::handle rope_base_micro) {
  LatentSpec spec;
  spec.model = text_of(model, "model");
  spec.tokenizer = text_of(tokenizer, "tokenizer");
  spec.layers = unsigned_of<uint32_t>(layers, "layers");
  spec.kv_heads = unsigned_of<uint32_t>(kv_heads, "kv_heads");
  spec.head_dim = unsigned_of<uint32_t>(head_dim, "head_dim");
  const std::string name = text_of(dtype, "dtype");
  if (name == "float32")
    spec.dtype = LatentDtype::float32;
  else if (name == "float16")
    spec.dtype = LatentDtype::float16;
  else if (name == "bfloat16")
    spec.dtype = LatentDtype::bfloat16;
  else if (name == "int8")
    spec.dtype = LatentDtype::int8;
  else
    throw Error(ErrorCode::out_of_range, "dtype",
                "want float32, float16, bfloat16 or int8, have " + name);
  spec.rope_base_micro = unsigned_of(rope_base_micro, "rope_base");
  return spec;
}

const char* dtype_text(LatentDtype dtype) {
  switch (dtype) {
    case LatentDtype::float32:
      return "float32";
    case LatentDtype::float16:
      return "float16";
    case LatentDtype::bfloat16:
      return "bfloat16";
    case LatentDtype::int8:
      return "int8";
  }
  return "unknown";
}

// None: no tokens are said.
class TokensArgument {
 public:
  TokensArgument(py::handle value, std::optional<size_t> count) {
    if (value.is_none()) return;
    array_ = array_of<uint32_t>(value, "tokens", 1);
    if (count) check_count("tokens", *count, static_cast<size_t>(array_->size()));
  }
  std::span<const uint32_t> view() const {
    return array_ ? span_of<uint32_t>(*array_) : std::span<const uint32_t>{};
  }

 private:
  std::optional<py::array> array_;
};

LatentId put(KernelHandle& handle, AgentId owner, const LatentSpec& spec, py::object kv,
             uint32_t token_count, py::object tokens, py::object step, py::object position_base,
             py::object lease_ns) {
  Kernel& kernel = handle.open();
  const BytesArgument bytes(kv, "kv");
  const TokensArgument ids(tokens, token_count);
  const uint64_t step_number = unsigned_of(step, "step");
  const auto base = unsigned_of<uint32_t>(position_base, "position_base");
  const uint64_t lease = unsigned_of(lease_ns, "ttl");
  return unlocked([&] {
    const uint32_t tenant = kernel.tenant_index(owner);
    return kernel.latents().put(owner, tenant, spec, bytes.view(), token_count, ids.view(),
                                step_number, base, lease);
  });
}

LatentId append(KernelHandle& handle, AgentId owner, LatentId latent, py::object kv,
                uint32_t token_count, py::object tokens, py::object step, uint32_t position) {
  Kernel& kernel = handle.open();
  const BytesArgument bytes(kv, "kv");
  const TokensArgument ids(tokens, token_count);
  const uint64_t step_number = unsigned_of(step, "step");
  return unlocked([&] {
    const uint32_t tenant = kernel.tenant_index(owner);
    return kernel.latents().append(latent, owner, tenant, bytes.view(), token_count, ids.view(),
                                   step_number, position);
  });
}

py::dict info_of(KernelHandle& handle, AgentId reader, LatentId latent) {
  Kernel& kernel = handle.open();
  const LatentInfo info =
      unlocked([&] { return kernel.latents().info(latent, reader, kernel.tenant_index(reader)); });
  py::dict fields;
  fields["id"] = info.id;
  fields["owner"] = info.owner;
  fields["content"] = bytes_from(info.content);
  fields["fingerprint"] = bytes_from(info.fingerprint);
  fields["parent"] = bytes_from(info.parent);
  fields["model"] = info.spec.model;
  fields["tokenizer"] = info.spec.tokenizer;
  fields["layers"] = info.spec.layers;
  fields["kv_heads"] = info.spec.kv_heads;
  fields["head_dim"] = info.spec.head_dim;
  fields["dtype"] = dtype_text(info.spec.dtype);
  fields["rope_base_micro"] = info.spec.rope_base_micro;
  fields["tokens"] = info.tokens;
  fields["position_base"] = info.position_base;
  fields["size_bytes"] = info.size_bytes;
  fields["lease_ns"] = info.lease_ns;
  fields["readers"] = info.readers;
  return fields;
}

void read_into(KernelHandle& handle, AgentId reader, LatentId latent, const LatentSpec* want,
               py::array out) {
  Kernel& kernel = handle.open();
  const std::span<uint8_t> bytes(static_cast<uint8_t*>(out.mutable_data()),
                                 static_cast<size_t>(out.nbytes()));
  unlocked([&] {
    kernel.latents().read_into(latent, reader, kernel.tenant_index(reader), want, bytes);
  });
}

py::tuple longest_prefix(KernelHandle& handle, AgentId reader, const LatentSpec& spec,
                         py::object tokens) {
  Kernel& kernel = handle.open();
  const py::array ids = array_of<uint32_t>(tokens, "tokens", 1);
  const auto wanted = span_of<uint32_t>(ids);
  const LatentPool::Prefix prefix = unlocked([&] {
    return kernel.latents().longest_prefix(reader, kernel.tenant_index(reader), spec, wanted);
  });
  return py::make_tuple(prefix.latent, prefix.matched);
}

py::dict status_of(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  const LatentPoolStatus status = unlocked([&] { return kernel.latents().status(); });
  py::dict fields;
  fields["page_bytes_used"] = status.page_bytes_used;
  fields["size_bytes_max"] = status.size_bytes_max;
  fields["handle_count"] = status.handle_count;
  fields["page_count"] = status.page_count;
  return fields;
}

}  // namespace

void register_latent(py::module_& module, KernelClass& kernel_class) {
  py::class_<LatentSpec>(module, "LatentSpec")
      .def(py::init([](py::object model, py::object tokenizer, py::object layers,
                       py::object kv_heads, py::object head_dim, py::object dtype,
                       py::object rope_base_micro) {
        return spec_of(model, tokenizer, layers, kv_heads, head_dim, dtype, rope_base_micro);
      }))
      .def("fingerprint",
           [](const LatentSpec& spec) { return bytes_from(latent_fingerprint(spec)); });

  kernel_class.def("latent_put", &put)
      .def("latent_append", &append)
      .def("latent_fork",
           [](KernelHandle& handle, AgentId owner, LatentId latent) {
             Kernel& kernel = handle.open();
             return unlocked(
                 [&] { return kernel.latents().fork(latent, owner, kernel.tenant_index(owner)); });
           })
      .def("latent_slice",
           [](KernelHandle& handle, AgentId owner, LatentId latent, py::object tokens) {
             Kernel& kernel = handle.open();
             const auto count = unsigned_of<uint32_t>(tokens, "tokens");
             return unlocked([&] {
               return kernel.latents().slice(latent, owner, kernel.tenant_index(owner), count);
             });
           })
      .def("latent_release",
           [](KernelHandle& handle, LatentId latent) {
             Kernel& kernel = handle.open();
             unlocked([&] { kernel.latents().release(latent); });
           })
      .def("latent_grant",
           [](KernelHandle& handle, LatentId latent, py::object reader) {
             Kernel& kernel = handle.open();
             const AgentId agent = unsigned_of(reader, "reader");
             unlocked([&] { kernel.latents().grant(latent, agent); });
           })
      .def("latent_info", &info_of)
      .def("latent_read_into", &read_into)
      .def("latent_longest_prefix", &longest_prefix)
      .def("latent_status", &status_of);
}

}  // namespace hanse::python
