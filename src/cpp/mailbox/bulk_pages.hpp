// Large pieces of memory that are touched on demand: not initialised, aligned to huge pages and
// advised to use them, so that a random row costs no walk of the page tables.
#pragma once

#include <cstddef>
#include <memory>

namespace hanse {

class BulkPages {
 public:
  BulkPages() = default;
  explicit BulkPages(size_t size_bytes);  // throws bad_alloc

  void* data() const { return storage_.get(); }
  size_t size_bytes() const { return size_bytes_; }

 private:
  struct Free {
    void operator()(void* storage) const;
  };
  std::unique_ptr<void, Free> storage_;
  size_t size_bytes_ = 0;
};

}  // namespace hanse
