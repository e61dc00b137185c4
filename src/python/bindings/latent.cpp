#include "latent/latent.hpp"

#include "convert.hpp"
#include "handle.hpp"
#include "latent.hpp"

namespace hanse::python {

LatentDtype latent_dtype_of(const std::string& name) {
  for (const LatentDtype dtype : {LatentDtype::float32, LatentDtype::float16, LatentDtype::bfloat16,
                                  LatentDtype::int8, LatentDtype::int4})
    if (name == latent_dtype_name(dtype)) return dtype;
  throw Error(ErrorCode::out_of_range, "dtype",
              "want float32, float16, bfloat16, int8 or int4, have " + name);
}

py::dict spec_terms(const LatentSpec& spec) {
  py::dict fields;
  fields["model"] = spec.model;
  fields["layers"] = spec.layers;
  fields["kv_heads"] = spec.kv_heads;
  fields["head_dim"] = spec.head_dim;
  fields["dtype"] = latent_dtype_name(spec.dtype);
  fields["tokenizer"] = spec.tokenizer;
  fields["rope_base"] = double(spec.rope_base_micro) / 1e6;
  fields["kind"] = spec.kind == LatentKind::kv ? "kv" : "hidden";
  fields["order"] = spec.order == LatentOrder::nhd ? "NHD" : "HND";
  fields["rope_pairing"] = spec.rope_pairing == RopePairing::neox ? "neox" : "gptj";
  fields["rotary_dim"] = spec.rotary_dim;
  fields["rope_scaling"] = spec.rope_scaling;
  fields["position_max"] = spec.position_max;
  fields["quantised"] = spec.quantised;
  fields["recent"] = spec.recent;
  return fields;
}

LatentTerms terms_of(py::tuple said, const TokensArgument& tokens) {
  LatentTerms terms;
  terms.tokens = tokens.view();
  terms.step = unsigned_of(said[0], "step");
  terms.position_base = unsigned_of<uint32_t>(said[1], "position_base");
  terms.lease_ns = unsigned_of(said[2], "ttl");
  terms.label = unsigned_of(said[3], "label");
  if (!said[4].is_none()) terms.gloss = text_of(said[4], "gloss");
  terms.price = unsigned_of(said[5], "price");
  terms.whole = truth_of(said[6], "whole");
  return terms;
}

SidesArgument::SidesArgument(py::handle value, const char* field, const LatentLayout& layout,
                             uint32_t tokens, LatentDtype dtype, bool writes) {
  const uint64_t dim = uint64_t(layout.spec.head_dim) * latent_dtype_bits(dtype) / 8;
  const uint64_t plane_bytes = dim * layout.spec.kv_heads * tokens;
  if (!PyList_Check(value.ptr())) {
    take(value, field, plane_bytes * layout.plane_count, writes);
    sides_ = layout.contiguous(data(0), tokens, dtype);
    return;
  }
  for (const py::handle plane : py::reinterpret_borrow<py::list>(value))
    take(plane, field, plane_bytes, writes);
  sides_ = layout.contiguous(nullptr, tokens, dtype);
  sides_.planes.clear();
  for (size_t i = 0; i < buffers_.size(); ++i) sides_.planes.push_back(data(i));
}

void SidesArgument::take(py::handle value, const char* field, uint64_t want, bool writes) {
  Py_buffer buffer;
  if (PyUnicode_Check(value.ptr()) || PyObject_CheckBuffer(value.ptr()) == 0)
    wrong_type(field, "an array", value);
  if (PyObject_GetBuffer(value.ptr(), &buffer, writes ? PyBUF_WRITABLE : PyBUF_SIMPLE) != 0) {
    PyErr_Clear();
    release();
    throw Error(ErrorCode::bad_array, field,
                writes ? "want a C-contiguous, writable array" : "want a C-contiguous array");
  }
  buffers_.push_back(buffer);
  if (static_cast<uint64_t>(buffer.len) == want) return;
  const auto have = static_cast<uint64_t>(buffer.len);
  release();
  throw Error(ErrorCode::dimension_mismatch, field,
              "want " + std::to_string(want) + " bytes, have " + std::to_string(have));
}

void SidesArgument::release() {
  for (Py_buffer& buffer : buffers_) PyBuffer_Release(&buffer);
  buffers_.clear();
}

namespace {

// One of two names, the first of which stands for 0.
template <class T>
T choice_of(py::handle value, const char* field, const char* first, const char* second) {
  const std::string name = text_of(value, field);
  if (name == first) return T(0);
  if (name == second) return T(1);
  throw Error(ErrorCode::out_of_range, field,
              std::string("want ") + first + " or " + second + ", have " + name);
}

LatentSpec spec_of(py::object model, py::object tokenizer, py::object layers, py::object kv_heads,
                   py::object head_dim, py::object dtype, py::object rope_base_micro,
                   py::object kind, py::object order, py::object rope_pairing,
                   py::object rotary_dim, py::object rope_scaling, py::object position_max,
                   py::object quantised, py::object recent) {
  LatentSpec spec;
  spec.model = text_of(model, "model");
  spec.tokenizer = text_of(tokenizer, "tokenizer");
  spec.layers = unsigned_of<uint32_t>(layers, "layers");
  spec.kv_heads = unsigned_of<uint32_t>(kv_heads, "kv_heads");
  spec.head_dim = unsigned_of<uint32_t>(head_dim, "head_dim");
  spec.dtype = latent_dtype_of(text_of(dtype, "dtype"));
  spec.rope_base_micro = unsigned_of(rope_base_micro, "rope_base");
  spec.kind = choice_of<LatentKind>(kind, "kind", "kv", "hidden");
  spec.order = choice_of<LatentOrder>(order, "order", "NHD", "HND");
  spec.rope_pairing = choice_of<RopePairing>(rope_pairing, "rope_pairing", "neox", "gptj");
  spec.rotary_dim = unsigned_of<uint32_t>(rotary_dim, "rotary_dim");
  spec.rope_scaling = text_of(rope_scaling, "rope_scaling");
  spec.position_max = unsigned_of<uint32_t>(position_max, "position_max");
  spec.quantised = unsigned_of<uint32_t>(quantised, "quantised");
  spec.recent = unsigned_of<uint32_t>(recent, "recent");
  return spec;
}

LatentId put(KernelHandle& handle, AgentId owner, const LatentSpec& spec, py::object kv,
             uint32_t token_count, py::object tokens, py::tuple said) {
  Kernel& kernel = handle.open();
  const TokensArgument ids(tokens, token_count);
  const LatentTerms terms = terms_of(said, ids);
  const SidesArgument sides(kv, "kv", *latent_layout(spec), token_count, spec.dtype, false);
  return unlocked([&] {
    return kernel.latents().put(owner, kernel.tenant_index(owner), spec, sides.view(), token_count,
                                terms);
  });
}

// The array stays alive as long as the latent's pages do, and nobody should write to it.
LatentId adopt(KernelHandle& handle, AgentId owner, const LatentSpec& spec, py::object kv,
               uint32_t token_count, py::object tokens, py::tuple said) {
  Kernel& kernel = handle.open();
  const TokensArgument ids(tokens, token_count);
  const LatentTerms terms = terms_of(said, ids);
  const BytesArgument bytes(kv, "kv");
  PyObject* object = kv.inc_ref().ptr();
  try {
    return unlocked([&] {
      return kernel.latents().adopt(owner, kernel.tenant_index(owner), spec, bytes.view(),
                                    token_count, terms, -1, [object] {
                                      if (Py_IsInitialized() == 0) return;
                                      const py::gil_scoped_acquire locked;
                                      Py_DECREF(object);
                                    });
    });
  } catch (...) {
    kv.dec_ref();
    throw;
  }
}

LatentId append(KernelHandle& handle, AgentId owner, LatentId latent, const LatentSpec& spec,
                py::object kv, uint32_t token_count, py::object tokens, py::object step,
                uint32_t position) {
  Kernel& kernel = handle.open();
  const TokensArgument ids(tokens, token_count);
  const uint64_t step_number = unsigned_of(step, "step");
  const SidesArgument sides(kv, "kv", *latent_layout(spec), token_count, spec.dtype, false);
  return unlocked([&] {
    const uint32_t tenant = kernel.tenant_index(owner);
    return kernel.latents().append(latent, owner, tenant, sides.view(), token_count, ids.view(),
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
  fields["content"] = bytes_from(info.content).attr("hex")();
  fields["fingerprint"] = bytes_from(info.fingerprint).attr("hex")();
  fields["parent"] = bytes_from(info.parent).attr("hex")();
  fields["spec"] = spec_terms(info.spec);
  fields["tokens"] = info.tokens;
  fields["position_base"] = info.position_base;
  fields["size_bytes"] = info.size_bytes;
  fields["lease_ns"] = info.lease_ns;
  fields["readers"] = info.readers;
  fields["label"] = info.label;
  fields["price"] = info.price;
  fields["step"] = info.step;
  fields["read_tokens"] = info.read_tokens;
  fields["gloss"] = info.gloss ? py::object(py::str(*info.gloss)) : py::object(py::none());
  fields["kept"] = info.kept;
  fields["pinned"] = info.pinned;
  return fields;
}

void read_into(KernelHandle& handle, AgentId reader, LatentId latent, const LatentSpec* want,
               const LatentSpec& spec, py::object out, uint32_t token_count,
               const std::string& dtype, py::object shift) {
  Kernel& kernel = handle.open();
  const LatentReading reading{latent_dtype_of(dtype),
                              signed_of(shift, "shift", -int64_t(UINT32_MAX), UINT32_MAX)};
  const SidesArgument sides(out, "out", *latent_layout(spec), token_count, reading.dtype, true);
  unlocked([&] {
    kernel.latents().read_into(latent, reader, kernel.tenant_index(reader), want, sides.view(),
                               reading);
  });
}

py::tuple longest_prefix(KernelHandle& handle, AgentId reader, const LatentSpec& spec,
                         py::object tokens) {
  Kernel& kernel = handle.open();
  const TokensArgument ids(tokens, {});
  if (tokens.is_none()) wrong_type("tokens", "an array", tokens);
  const LatentPool::Prefix prefix = unlocked([&] {
    return kernel.latents().longest_prefix(reader, kernel.tenant_index(reader), spec, ids.view());
  });
  return py::make_tuple(prefix.latent, prefix.matched);
}

LatentId find_step(KernelHandle& handle, AgentId reader, const LatentSpec& spec, py::object parent,
                   py::object producer, py::object step) {
  Kernel& kernel = handle.open();
  const Digest from = parent.is_none() ? Digest{} : digest_of(parent, "parent");
  const AgentId by = unsigned_of(producer, "producer");
  const uint64_t number = unsigned_of(step, "step");
  return unlocked([&] {
    return kernel.latents().find_step(reader, kernel.tenant_index(reader), spec, from, by, number);
  });
}

py::dict status_of(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  const LatentPoolStatus status = unlocked([&] { return kernel.latents().status(); });
  py::dict fields;
  fields["page_bytes_used"] = status.page_bytes_used;
  fields["size_bytes_max"] = status.size_bytes_max;
  fields["handle_count"] = status.handle_count;
  fields["page_count"] = status.page_count;
  fields["mapped_bytes"] = status.mapped_bytes;
  fields["prefaulted_bytes"] = status.prefaulted_bytes;
  fields["adopted_bytes"] = status.adopted_bytes;
  fields["kept_bytes"] = status.kept_bytes;
  fields["evicted_count"] = status.evicted_count;
  fields["metadata_bytes"] = status.metadata_bytes;
  fields["huge_pages"] = status.huge_pages;
  fields["spilled_bytes"] = status.spilled_bytes;
  fields["spilled_count"] = status.spilled_count;
  fields["spilling_bytes"] = status.spilling_bytes;
  fields["spill_written_count"] = status.spill_written_count;
  fields["spill_loaded_count"] = status.spill_loaded_count;
  fields["spill_dropped_count"] = status.spill_dropped_count;
  fields["spill_lost_count"] = status.spill_lost_count;
  return fields;
}

void register_retention(KernelClass& kernel_class) {
  kernel_class
      .def("latent_keep",
           [](KernelHandle& handle, AgentId actor, LatentId latent, py::object cost, bool pinned) {
             Kernel& kernel = handle.open();
             const uint64_t units = unsigned_of(cost, "cost");
             kernel.latents().keep(latent, actor, kernel.tenant_index(actor), units, pinned);
           })
      .def("latent_forget",
           [](KernelHandle& handle, AgentId actor, LatentId latent) {
             Kernel& kernel = handle.open();
             kernel.latents().forget(latent, actor, kernel.tenant_index(actor));
           })
      .def("latent_evict",
           [](KernelHandle& handle, AgentId actor, py::object bytes) {
             Kernel& kernel = handle.open();
             const uint64_t wanted = unsigned_of(bytes, "size_bytes");
             return kernel.latents().evict(kernel.tenant_index(actor), wanted);
           })
      .def("latent_quota",
           [](KernelHandle& handle, AgentId actor, py::object bytes) {
             Kernel& kernel = handle.open();
             const uint64_t quota = unsigned_of(bytes, "size_bytes");
             kernel.latents().set_quota(kernel.tenant_index(actor), quota);
           })
      .def("latent_spill_to",
           [](KernelHandle& handle, const std::string& directory, py::object size_bytes_max,
              py::object staging_bytes_max) {
             Kernel& kernel = handle.open();
             const LatentSpillOptions options{directory,
                                              unsigned_of(size_bytes_max, "size_bytes_max"),
                                              unsigned_of(staging_bytes_max, "staging_bytes_max")};
             unlocked([&] { kernel.latents().spill_to(options); });
           })
      .def("latent_expect",
           [](KernelHandle& handle, AgentId reader, const LatentSpec& spec, py::object tokens) {
             Kernel& kernel = handle.open();
             const TokensArgument ids(tokens, {});
             return kernel.latents().expect(kernel.tenant_index(reader),
                                            latent_layout(spec)->fingerprint, ids.view());
           })
      .def("latent_fetch",
           [](KernelHandle& handle, AgentId reader, const LatentSpec& spec, py::object tokens,
              py::object timeout_ns) {
             Kernel& kernel = handle.open();
             const TokensArgument ids(tokens, {});
             const uint64_t waits = unsigned_of(timeout_ns, "timeout");
             const LatentPool::Prefix found = unlocked([&] {
               return kernel.latents().fetch(reader, kernel.tenant_index(reader),
                                             latent_layout(spec)->fingerprint, ids.view(), waits);
             });
             return py::make_tuple(found.latent, found.matched);
           })
      .def("latent_set_size",
           [](KernelHandle& handle, py::object bytes) {
             Kernel& kernel = handle.open();
             kernel.latents().set_size(unsigned_of(bytes, "size_bytes"));
           })
      .def("latent_reserve",
           [](KernelHandle& handle, AgentId actor, const LatentSpec& spec, py::object tokens) {
             Kernel& kernel = handle.open();
             const auto count = unsigned_of<uint32_t>(tokens, "tokens");
             unlocked([&] { kernel.latents().reserve(kernel.tenant_index(actor), spec, count); });
           });
}

}  // namespace

// Short calls keep the GIL: giving it up costs as much as they take.
void register_latent(py::module_& module, KernelClass& kernel_class) {
  py::class_<LatentSpec>(module, "LatentSpec")
      .def(py::init(&spec_of))
      .def("fingerprint",
           [](const LatentSpec& spec) { return bytes_from(latent_layout(spec)->fingerprint); });

  kernel_class.def("latent_put", &put)
      .def("latent_adopt", &adopt)
      .def("latent_append", &append)
      .def("latent_fork",
           [](KernelHandle& handle, AgentId owner, LatentId latent) {
             Kernel& kernel = handle.open();
             return kernel.latents().fork(latent, owner, kernel.tenant_index(owner));
           })
      .def("latent_slice",
           [](KernelHandle& handle, AgentId owner, LatentId latent, py::object first,
              py::object tokens) {
             Kernel& kernel = handle.open();
             const auto from = unsigned_of<uint32_t>(first, "first");
             const auto count = unsigned_of<uint32_t>(tokens, "tokens");
             return kernel.latents().slice(latent, owner, kernel.tenant_index(owner), from, count);
           })
      .def("latent_concat",
           [](KernelHandle& handle, AgentId owner, py::list latents) {
             Kernel& kernel = handle.open();
             std::vector<LatentId> ids;
             for (const py::handle latent : latents) ids.push_back(unsigned_of(latent, "latents"));
             return kernel.latents().concat(ids, owner, kernel.tenant_index(owner));
           })
      .def("latent_release",
           [](KernelHandle& handle, LatentId latent) { handle.open().latents().release(latent); })
      .def("latent_grant",
           [](KernelHandle& handle, LatentId latent, py::object reader, py::object clearance) {
             const AgentId agent = unsigned_of(reader, "reader");
             handle.open().latents().grant(latent, agent, unsigned_of(clearance, "clearance"));
           })
      .def("latent_revoke",
           [](KernelHandle& handle, LatentId latent, py::object reader) {
             const AgentId agent = unsigned_of(reader, "reader");
             return handle.open().latents().revoke(latent, agent);
           })
      .def("latent_info", &info_of)
      .def("latent_read_into", &read_into)
      .def("latent_pages", &latent_pages)
      .def("latent_longest_prefix", &longest_prefix)
      .def("latent_find_step", &find_step)
      .def("latent_status", &status_of);
  register_retention(kernel_class);
  register_transforms(module);
  register_latent_exchange(module, kernel_class);
  register_latent_block(module, kernel_class);
  register_prefix_view(module);
}

}  // namespace hanse::python
