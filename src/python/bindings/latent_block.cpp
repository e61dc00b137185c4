// Room that a runtime fills in place, as a writable array.
#include "latent/block.hpp"

#include "convert.hpp"
#include "latent.hpp"

namespace hanse::python {

namespace {

using SharedBlock = std::shared_ptr<LatentBlock>;

SharedBlock open_block(KernelHandle& handle, AgentId owner, const LatentSpec& spec,
                       py::object capacity, py::object position_base) {
  Kernel& kernel = handle.open();
  const auto tokens = unsigned_of<uint32_t>(capacity, "capacity");
  const auto base = unsigned_of<uint32_t>(position_base, "position_base");
  return unlocked([&] {
    return std::make_shared<LatentBlock>(kernel.latents(), owner, kernel.tenant_index(owner), spec,
                                         tokens, base);
  });
}

SharedBlock continue_block(KernelHandle& handle, AgentId owner, LatentId from,
                           const LatentSpec* want, py::object room, py::object shift) {
  Kernel& kernel = handle.open();
  const auto more = unsigned_of<uint32_t>(room, "room");
  const int64_t by = signed_of(shift, "shift", -int64_t(UINT32_MAX), UINT32_MAX);
  return unlocked([&] {
    return std::make_shared<LatentBlock>(kernel.latents(), owner, kernel.tenant_index(owner), from,
                                         want, more, by);
  });
}

// The array keeps the block.
py::array array_of_block(const SharedBlock& block) {
  const py::capsule owner(new SharedBlock(block),
                          [](void* address) { delete static_cast<SharedBlock*>(address); });
  return page_array(block->layout(), block->piece(), owner, true);
}

LatentId publish(LatentBlock& block, uint32_t count, py::object tokens, py::tuple said) {
  const TokensArgument ids(tokens, count < block.begun() ? 0 : count - block.begun());
  const LatentTerms terms = terms_of(said, ids);
  return unlocked([&] { return block.publish(count, terms); });
}

}  // namespace

void register_latent_block(py::module_& module, KernelClass& kernel_class) {
  py::class_<LatentBlock, SharedBlock>(module, "LatentBlock")
      .def("array", &array_of_block)
      .def("capacity", &LatentBlock::capacity)
      .def("begun", &LatentBlock::begun)
      .def("written", &LatentBlock::written)
      .def("position_base", &LatentBlock::position_base)
      .def("copied", &LatentBlock::copied)
      .def("publish",
           [](const SharedBlock& block, py::object count, py::object tokens, py::tuple said) {
             return publish(*block, unsigned_of<uint32_t>(count, "count"), tokens, std::move(said));
           });
  kernel_class.def("latent_open_block", &open_block).def("latent_continue_block", &continue_block);
}

}  // namespace hanse::python
