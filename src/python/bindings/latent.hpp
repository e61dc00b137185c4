// What the binding files of latents share.
#pragma once

#include "handle.hpp"
#include "latent/spec.hpp"

namespace hanse::python {

LatentDtype latent_dtype_of(const std::string& name);
// Read-only arrays of each run of tokens, in order, that keep what they show.
py::list latent_pages(KernelHandle& handle, AgentId reader, LatentId latent);
void register_transforms(py::module_& module);
void register_prefix_view(py::module_& module);

}  // namespace hanse::python
