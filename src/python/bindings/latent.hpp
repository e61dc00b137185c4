// What the binding files of latents share.
#pragma once

#include <pybind11/numpy.h>

#include "handle.hpp"
#include "latent/layout.hpp"

namespace hanse::python {

LatentDtype latent_dtype_of(const std::string& name);
// Read-only arrays of each run of tokens, in order, that keep what they show.
py::list latent_pages(KernelHandle& handle, AgentId reader, LatentId latent);
// One run of tokens as a read-only array that keeps `owner`.
py::array page_array(const LatentLayout& layout, const Piece& piece, py::handle owner);
// The fields of hanse.LatentSpec.
py::dict spec_terms(const LatentSpec& spec);
void register_latent_exchange(py::module_& module, KernelClass& kernel_class);
void register_transforms(py::module_& module);
void register_prefix_view(py::module_& module);

}  // namespace hanse::python
