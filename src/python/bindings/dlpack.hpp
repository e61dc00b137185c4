// The structs of DLPack 1.1 by which array libraries hand each other memory
// (dmlc.github.io/dlpack).
#pragma once

#include <cstdint>

namespace hanse::python {

struct DlDevice {
  int32_t type, id;
};
constexpr DlDevice dl_cpu{1, 0};

struct DlDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
constexpr DlDataType dl_uint8{1, 8, 1};

struct DlTensor {
  void* data;
  DlDevice device;
  int32_t dimensions;
  DlDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: rows are contiguous
  uint64_t byte_offset;
};

// As every consumer knows it.
struct DlManagedTensor {
  DlTensor tensor;
  void* owner;
  void (*deleter)(DlManagedTensor*);
};

// From version 1.0 on, for those that ask for it.
struct DlManagedTensorVersioned {
  uint32_t major, minor;
  void* owner;
  void (*deleter)(DlManagedTensorVersioned*);
  uint64_t flags;  // bit 0: read only
  DlTensor tensor;
};

}  // namespace hanse::python
