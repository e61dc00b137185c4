// What the host is told, and where memory comes from.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "c/hanse_library.h"

namespace hanse::c {

// Whether anybody listens, for texts that are made only then.
bool logs(int32_t level) noexcept;
void log(int32_t level, const char* text) noexcept;
// A call returns this error: the log at its level, and the panic handler where an invariant failed.
void tell_failure(ErrorCode code, const char* text) noexcept;

// allocator.cpp. False: too late.
bool use_allocator(const hanse_allocator& allocator) noexcept;
// From here on the allocator stays what it is.
void settle_allocator() noexcept;

}  // namespace hanse::c
