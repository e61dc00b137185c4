// What the binding files of latents share.
#pragma once

#include <pybind11/numpy.h>

#include "convert.hpp"
#include "handle.hpp"
#include "latent/latent.hpp"

namespace hanse::python {

// None: no tokens are said. int32 and uint32 are the same bits.
class TokensArgument {
 public:
  TokensArgument(py::handle value, std::optional<size_t> count) {
    if (value.is_none()) return;
    if (py::isinstance<py::array_t<int32_t>>(value))
      array_ = array_of<int32_t>(value, "tokens", 1);
    else
      array_ = array_of<uint32_t>(value, "tokens", 1);
    if (count) check_count("tokens", *count, static_cast<size_t>(array_->size()));
  }
  std::span<const uint32_t> view() const {
    return array_ ? span_of<uint32_t>(*array_) : std::span<const uint32_t>{};
  }

 private:
  std::optional<py::array> array_;
};

// A contiguous array of all planes, or a list of one a plane.
class SidesArgument {
 public:
  SidesArgument(py::handle value, const char* field, const LatentLayout& layout, uint32_t tokens,
                LatentDtype dtype, bool writes);
  SidesArgument(const SidesArgument&) = delete;
  SidesArgument& operator=(const SidesArgument&) = delete;
  ~SidesArgument() { release(); }
  const LatentSides& view() const { return sides_; }

 private:
  void take(py::handle value, const char* field, uint64_t want, bool writes);
  void release();
  uint8_t* data(size_t index) const { return static_cast<uint8_t*>(buffers_[index].buf); }

  std::vector<Py_buffer> buffers_;
  LatentSides sides_;
};

// What is said beside the KV; (step, position_base, lease_ns, label, gloss, price, whole).
LatentTerms terms_of(py::tuple said, const TokensArgument& tokens);
LatentDtype latent_dtype_of(const std::string& name);
// Read-only arrays of each run of tokens, in order, that keep what they show.
py::list latent_pages(KernelHandle& handle, AgentId reader, LatentId latent);
// One run of tokens as an array that keeps `owner`, read-only unless said otherwise.
py::array page_array(const LatentLayout& layout, const Piece& piece, py::handle owner,
                     bool writeable = false);
// The fields of hanse.LatentSpec.
py::dict spec_terms(const LatentSpec& spec);
void register_latent_exchange(py::module_& module, KernelClass& kernel_class);
void register_latent_block(py::module_& module, KernelClass& kernel_class);
void register_transforms(py::module_& module);
void register_prefix_view(py::module_& module);

}  // namespace hanse::python
