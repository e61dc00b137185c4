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
  // What few dispatches ask for; see DispatchRequest.
  TaskId parent = id_none;
  uint64_t lease_ns = 0, answer_by_ns = 0;
  AgentId verifier = id_none, approver = id_none;
  std::string verifier_role, role, approval;

  // The request borrows from these terms.
  void add_to(DispatchRequest& request) const {
    request.space = space;
    request.feasible = feasible;
    request.task_class = task_class;
    request.latents = latents;
    request.unit = unit;
    request.deadline_ns = deadline_ns;
    request.verifier_required = verifier_required;
    request.parent = parent;
    request.lease_ns = lease_ns;
    request.answer_by_ns = answer_by_ns;
    request.verifier = verifier;
    request.approver = approver;
    request.verifier_role = verifier_role;
    request.role = role;
    request.approval = approval;
  }
};

}  // namespace hanse::python
