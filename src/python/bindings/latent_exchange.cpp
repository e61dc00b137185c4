// Latents that leave the process: sealed bytes, and hand-offs to other processes.
#include "convert.hpp"
#include "latent.hpp"
#include "latent/exchange.hpp"
#include "latent/seal.hpp"

namespace hanse::python {

namespace {

py::bytes seal(KernelHandle& handle, AgentId reader, LatentId latent, py::object key) {
  Kernel& kernel = handle.open();
  const BytesArgument secret(key, "key");
  const std::vector<uint8_t> sealed = unlocked([&] {
    return seal_latent(kernel.latents(), latent, reader, kernel.tenant_index(reader),
                       secret.view());
  });
  return bytes_from(sealed);
}

LatentId unseal(KernelHandle& handle, AgentId owner, py::object sealed, py::object key) {
  Kernel& kernel = handle.open();
  const BytesArgument secret(key, "key"), bytes(sealed, "sealed");
  return unlocked([&] {
    return import_latent(kernel.latents(), owner, kernel.tenant_index(owner), bytes.view(),
                         secret.view());
  });
}

// Lives no longer than its kernel is open: every call asks for it.
struct Exchange {
  KernelHandle* handle;
  std::unique_ptr<LatentExchange> exchange;
  LatentExchange& open() {
    handle->open();
    return *exchange;
  }
};

py::bytes ticket_of(Exchange& exchange, AgentId agent) {
  const uint32_t tenant = exchange.handle->open().tenant_index(agent);
  const Digest ticket = exchange.open().ticket(agent, tenant);
  std::vector<uint8_t> named(ticket.begin(), ticket.end());
  for (int i = 0; i < 8; ++i) named.push_back(static_cast<uint8_t>(agent >> (8 * i)));
  for (int i = 0; i < 4; ++i) named.push_back(static_cast<uint8_t>(tenant >> (8 * i)));
  return bytes_from(named);
}

// The other process has no kernel: this is all that it needs.
std::unique_ptr<LatentReader> connect(const std::string& path, py::object ticket) {
  const BytesArgument bytes(ticket, "ticket");
  if (bytes.view().size() != sizeof(Digest) + 12)
    throw Error(ErrorCode::dimension_mismatch, "ticket", bytes.view().size(), sizeof(Digest) + 12);
  Digest secret;
  AgentId agent = 0;
  uint32_t tenant = 0;
  std::memcpy(secret.data(), bytes.view().data(), sizeof(secret));
  std::memcpy(&agent, bytes.view().data() + sizeof(secret), sizeof(agent));
  std::memcpy(&tenant, bytes.view().data() + sizeof(secret) + 8, sizeof(tenant));
  return std::make_unique<LatentReader>(path, agent, tenant, secret);
}

int milliseconds(py::object value) {
  return static_cast<int>(signed_of(value, "timeout_ms", -1, 86'400'000));
}

py::object receive(LatentReader& reader, py::object timeout_ms) {
  const int waits = milliseconds(timeout_ms);
  std::shared_ptr<RemoteLatent> latent = unlocked([&] { return reader.receive(waits); });
  if (!latent) return py::none();
  return py::cast(latent);
}

// kept: None, or what computing it anew costs.
LatentReader::Terms put_terms(py::tuple said, py::object kept, const TokensArgument& ids) {
  LatentReader::Terms terms;
  terms.said = terms_of(said, ids);
  terms.kept = !kept.is_none();
  if (terms.kept) terms.cost = unsigned_of(kept, "cost");
  return terms;
}

LatentId put(LatentReader& reader, const LatentSpec& spec, py::object kv, uint32_t token_count,
             py::object tokens, py::tuple said, py::object kept, py::object timeout_ms) {
  const TokensArgument ids(tokens, token_count);
  const LatentReader::Terms terms = put_terms(said, kept, ids);
  const SidesArgument sides(kv, "kv", LatentLayout(spec), token_count, spec.dtype, false);
  const int waits = milliseconds(timeout_ms);
  return unlocked([&] { return reader.put(spec, sides.view(), token_count, terms, waits); });
}

LatentId put_file(LatentReader& reader, const LatentSpec& spec, int file, uint32_t token_count,
                  py::object tokens, py::tuple said, py::object kept, py::object timeout_ms) {
  const TokensArgument ids(tokens, token_count);
  const LatentReader::Terms terms = put_terms(said, kept, ids);
  const int waits = milliseconds(timeout_ms);
  return unlocked([&] { return reader.put_file(spec, file, token_count, terms, waits); });
}

}  // namespace

void register_latent_exchange(py::module_& module, KernelClass& kernel_class) {
  kernel_class.def("latent_seal", &seal).def("latent_unseal", &unseal);

  py::class_<Exchange>(module, "LatentExchange")
      .def(py::init([](KernelHandle& handle, const std::string& path) {
             Kernel& kernel = handle.open();
             return std::make_unique<Exchange>(
                 &handle, std::make_unique<LatentExchange>(kernel.latents(), path));
           }),
           py::keep_alive<1, 2>())
      .def("ticket", &ticket_of)
      .def("poll", [](Exchange& exchange) { return exchange.open().poll(); })
      .def("share", [](Exchange& exchange, LatentId latent,
                       AgentId agent) { return exchange.open().share(latent, agent); })
      .def("end", [](Exchange& exchange, LatentId latent,
                     AgentId agent) { return exchange.open().end(latent, agent); })
      .def("puts",
           [](Exchange& exchange) {
             py::list all;
             for (const auto& [latent, agent] : exchange.open().puts())
               all.append(py::make_tuple(latent, agent));
             return all;
           })
      .def("share_count", [](Exchange& exchange) { return exchange.open().share_count(); })
      .def("close", [](Exchange& exchange) { exchange.exchange.reset(); });

  py::class_<RemoteLatent, std::shared_ptr<RemoteLatent>>(module, "RemoteLatent")
      .def("check", &RemoteLatent::check)
      .def("tokens", &RemoteLatent::tokens)
      .def("position_base", &RemoteLatent::position_base)
      .def("spec", [](const RemoteLatent& latent) { return spec_terms(latent.layout().spec); })
      .def("pages", [](std::shared_ptr<RemoteLatent> latent) {
        latent->check();
        const py::capsule owner(new std::shared_ptr<RemoteLatent>(latent), [](void* address) {
          delete static_cast<std::shared_ptr<RemoteLatent>*>(address);
        });
        py::list arrays(latent->pieces().size());
        for (size_t i = 0; i < latent->pieces().size(); ++i)
          arrays[i] = page_array(latent->layout(), latent->pieces()[i], owner);
        return arrays;
      });
  py::class_<LatentReader>(module, "LatentReader")
      .def(py::init(&connect))
      .def("receive", &receive)
      .def("put", &put)
      .def("put_file", &put_file)
      .def("release", [](LatentReader& reader, LatentId latent) { reader.release(latent); });
}

}  // namespace hanse::python
