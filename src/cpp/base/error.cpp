#include "base/error.hpp"

#include <iterator>

namespace hanse {

namespace {
constexpr ErrorCodeInfo table[] = {
#define HANSE_X(number, name, text, kind) {ErrorCode::name, text, ErrorKind::kind},
    HANSE_ERROR_CODES(HANSE_X)
#undef HANSE_X
};
}  // namespace

const ErrorCodeInfo& error_code_info(ErrorCode code) {
  for (const ErrorCodeInfo& row : table)
    if (row.code == code) return row;
  return table[std::size(table) - 1];
}

ErrorCodeTable error_code_table() { return {table, std::size(table)}; }

Error::Error(ErrorCode code, std::string_view field, std::string_view detail, uint64_t id,
             uint64_t position)
    : code_(code), field_(field), detail_(detail), id_(id), position_(position) {
  what_ = std::string(error_code_info(code).name) + ": " + field_;
  if (!detail_.empty()) what_ += ": " + detail_;
  if (id_ != 0) what_ += " (id " + std::to_string(id_) + ")";
  if (position_ != no_position) what_ += " (position " + std::to_string(position_) + ")";
}

Error::Error(ErrorCode code, std::string_view field, uint64_t value, uint64_t limit, uint64_t id)
    : Error(code, field, std::to_string(value) + " where the limit is " + std::to_string(limit),
            id) {}

void assertion_failed(const char* expression, const char* file, int line) {
  throw Error(ErrorCode::invariant, expression,
              std::string(file) + ":" + std::to_string(line) + " does not hold");
}

}  // namespace hanse
