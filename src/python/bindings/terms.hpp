// What the requests of one call share: where to look, what is feasible, and how the task runs.
#pragma once

#include <string>
#include <vector>

#include "handle.hpp"

namespace hanse::python {

struct Terms {
  uint32_t space = 0;
  Feasible feasible;
  std::string task_class;
  std::vector<LatentId> latents;
  UnitId unit = 0;
  uint64_t deadline_ns = 0;
  bool verifier_required = false;
};

}  // namespace hanse::python
