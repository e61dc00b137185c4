#include "base/seeded_bug.hpp"

#ifdef HANSE_SEEDED_BUGS
#include <cstdlib>

namespace hanse {

unsigned seeded_bug() {
  static const unsigned number = [] {
    const char* text = std::getenv("HANSE_SEEDED_BUG");
    return text == nullptr ? 0u : unsigned(std::strtoul(text, nullptr, 10));
  }();
  return number;
}

}  // namespace hanse
#endif
