#include "c/handle.hpp"
#include "c/library.hpp"

namespace hanse::c {

namespace {

struct LastError {
  int32_t code = 0;
  char text[512] = "";
};
thread_local LastError last_error;

// A number that is missing in hanse.h, or differs there, does not compile.
#define HANSE_X(number, name, text, kind) \
  static_assert(int(hanse_error_##name) == (number) && int(ErrorCode::name) == (number), #name);
HANSE_ERROR_CODES(HANSE_X)
#undef HANSE_X

#define HANSE_X(number, name) \
  static_assert(int(hanse_outcome_##name) == (number) && int(Outcome::name) == (number), #name);
HANSE_OUTCOMES(HANSE_X)
#undef HANSE_X

}  // namespace

hanse_status remember(ErrorCode code, const char* text) noexcept {
  last_error.code = int32_t(code);
  copy_text(text, last_error.text, sizeof last_error.text);
  tell_failure(code, text);
  return -int32_t(code);
}

void copy_text(std::string_view text, char* out, size_t out_size) noexcept {
  size_t size = text.size() < out_size ? text.size() : out_size - 1;
  if (size < text.size())
    while (size > 0 && (uint8_t(text[size]) & 0xc0) == 0x80) --size;
  std::memcpy(out, text.data(), size);
  std::memset(out + size, 0, out_size - size);
}

}  // namespace hanse::c

using namespace hanse;

extern "C" {

const char* hanse_version(void) { return HANSE_VERSION; }
int32_t hanse_error_code(void) { return c::last_error.code; }
const char* hanse_error_text(void) { return c::last_error.text; }

const char* hanse_error_name(int32_t error) {
  const ErrorCodeTable table = error_code_table();
  for (size_t i = 0; i < table.count; ++i)
    if (int32_t(table.rows[i].code) == error) return table.rows[i].name;
  return nullptr;
}

const char* hanse_outcome_name(int32_t outcome) {
  switch (outcome) {
#define HANSE_X(number, name) \
  case number:                \
    return #name;
    HANSE_OUTCOMES(HANSE_X)
#undef HANSE_X
    default:
      return nullptr;
  }
}

}  // extern "C"
