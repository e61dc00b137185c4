#include "terms.hpp"

#include "convert.hpp"

namespace hanse::python {

namespace {

Feasible feasible_of(py::handle price_max, py::handle tier_min, py::handle tier_max,
                     py::handle skills, py::handle region, py::handle tenant_index) {
  Feasible feasible;
  if (!price_max.is_none()) feasible.price_max = signed_of(price_max, "max_price", 0, INT64_MAX);
  feasible.tier_min = unsigned_of<uint8_t>(tier_min, "tier");
  feasible.tier_max = unsigned_of<uint8_t>(tier_max, "tier");
  if (feasible.tier_min > feasible.tier_max)
    throw Error(ErrorCode::out_of_range, "tier", "the lowest is above the highest");
  if (!skills.is_none()) {
    const py::tuple masks = py::reinterpret_borrow<py::tuple>(skills);
    feasible.skills_all = unsigned_of(masks[0], "skills");
    feasible.skills_any = unsigned_of(masks[1], "skills");
    feasible.skills_none = unsigned_of(masks[2], "skills");
  }
  if (!region.is_none()) feasible.region = unsigned_of<uint16_t>(region, "region", UINT16_MAX - 1);
  if (!tenant_index.is_none()) feasible.tenant = unsigned_of<uint32_t>(tenant_index, "tenant");
  return feasible;
}

Terms terms_of(py::object space, py::object price_max, py::object tier_min, py::object tier_max,
               py::object skills, py::object region, py::object tenant_index, py::object task_class,
               py::object latents, py::object unit, py::object deadline_ns, py::object verify) {
  Terms terms;
  terms.space = unsigned_of<uint32_t>(space, "space");
  terms.feasible = feasible_of(price_max, tier_min, tier_max, skills, region, tenant_index);
  terms.task_class = text_of(task_class, "task_class");
  if (terms.task_class.size() > task_class_size_max)
    throw Error(ErrorCode::too_large, "task_class", terms.task_class.size(), task_class_size_max);
  for (const py::handle latent : latents) terms.latents.push_back(unsigned_of(latent, "latents"));
  if (terms.latents.size() > latents_per_task_max)
    throw Error(ErrorCode::too_large, "latents", terms.latents.size(), latents_per_task_max);
  terms.unit = unsigned_of<UnitId>(unit, "unit");
  terms.deadline_ns = unsigned_of(deadline_ns, "deadline_ns");
  terms.verifier_required = truth_of(verify, "verify");
  return terms;
}

void more_terms(Terms& terms, py::object parent, py::object lease_ns, py::object verifier,
                py::object verifier_role, py::object role, py::object approval, py::object approver,
                py::object answer_by_ns) {
  const auto id_of = [](py::handle value, const char* field) {
    return value.is_none() ? id_none : unsigned_of(value, field);
  };
  terms.parent = id_of(parent, "parent");
  terms.lease_ns = unsigned_of(lease_ns, "lease");
  terms.verifier = id_of(verifier, "verifier");
  terms.verifier_role = text_of(verifier_role, "verifier_role");
  terms.role = text_of(role, "role");
  terms.approval = text_of(approval, "approval");
  terms.approver = id_of(approver, "approver");
  terms.answer_by_ns = unsigned_of(answer_by_ns, "answer_by_ns");
}

}  // namespace

void register_terms(py::module_& module) {
  py::class_<Terms>(module, "Terms").def(py::init(&terms_of)).def("more", &more_terms);
}

}  // namespace hanse::python
