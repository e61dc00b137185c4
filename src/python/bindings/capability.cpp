#include "capability/capability.hpp"

#include "convert.hpp"
#include "handle.hpp"
#include "search.hpp"
#include "terms.hpp"

namespace hanse::python {

namespace {

uint32_t create_space(KernelHandle& handle, AgentId actor, py::object name, py::object dim,
                      py::object metric, py::object model) {
  Kernel& kernel = handle.open();
  SpaceSpec spec;
  spec.name = text_of(name, "name");
  spec.dim = unsigned_of<uint32_t>(dim, "dim");
  const std::string metric_name = text_of(metric, "metric");
  if (metric_name != "cosine" && metric_name != "inner_product")
    throw Error(ErrorCode::out_of_range, "metric",
                "want cosine or inner_product, have " + metric_name);
  spec.metric = metric_name == "cosine" ? Metric::cosine : Metric::inner_product;
  spec.model = text_of(model, "model");
  return unlocked([&] { return kernel.create_space(actor, spec); });
}

py::tuple space_spec(KernelHandle& handle, uint32_t space) {
  Kernel& kernel = handle.open();
  const SpaceSpec spec = unlocked([&] { return kernel.space_spec(space); });
  return py::make_tuple(spec.name, spec.dim,
                        spec.metric == Metric::cosine ? "cosine" : "inner_product", spec.model);
}

py::array_t<uint32_t> publish(KernelHandle& handle, AgentId actor, uint32_t space, py::object ids,
                              py::object vectors, py::object price, py::object tier,
                              py::object skills, py::object region, py::object policy_bits,
                              py::object slots, py::object offer, py::object expected) {
  Kernel& kernel = handle.open();
  const py::array id_array = array_of<uint64_t>(ids, "ids", 1);
  const py::array vector_array = array_of<float>(vectors, "vectors", 2);
  const size_t count = static_cast<size_t>(id_array.size());
  check_count("vectors", count, static_cast<size_t>(vector_array.shape(0)));
  const ColumnArgument<int64_t> prices(price, "price", count);
  const ColumnArgument<uint8_t> tiers(tier, "tier", count);
  const ColumnArgument<uint64_t> skill_bits(skills, "skills", count);
  const ColumnArgument<uint16_t> regions(region, "region", count);
  const ColumnArgument<uint64_t> policies(policy_bits, "policy_bits", count);
  const ColumnArgument<uint16_t> slot_counts(slots, "slots", count);

  Kernel::PublishRequest request;
  request.agents = span_of<uint64_t>(id_array);
  request.space = space;
  request.offers.offer = unsigned_of<uint32_t>(offer, "offer");
  request.offers.vectors = matrix_of<float>(vector_array);
  request.offers.price = prices.column();
  request.offers.tier = tiers.column();
  request.offers.skills = skill_bits.column();
  request.offers.region = regions.column();
  request.offers.policy_bits = policies.column();
  request.offers.slots = slot_counts.column();
  py::array expected_array;
  if (!expected.is_none()) {
    expected_array = array_of<uint32_t>(expected, "versions", 1);
    check_count("versions", count, static_cast<size_t>(expected_array.size()));
    request.expected = span_of<uint32_t>(expected_array);
  }
  py::array_t<uint32_t> versions = new_array<uint32_t>(count);
  const std::span<uint32_t> versions_out = span_out(versions);
  unlocked([&] { kernel.publish(actor, request, versions_out); });
  return versions;
}

py::tuple match(KernelHandle& handle, AgentId actor, const Terms& terms, py::object queries,
                py::object k, py::object threads, py::object filter, py::object max_price,
                py::object ranking, py::object recall, py::object effort, bool explain,
                py::object device) {
  Kernel& kernel = handle.open();
  const py::array query_array = array_of<float>(queries, "queries", 2);
  Kernel::MatchRequest request;
  request.queries = matrix_of<float>(query_array);
  request.space = terms.space;
  request.options = options_of(k, threads, recall, effort, device);
  const size_t rows = request.queries.rows;
  const uint32_t width = request.options.k;
  const std::vector<Feasible> feasible = feasible_of(filter, max_price, rows, terms.feasible);
  const std::vector<Ranking> rankings = rankings_of(ranking);
  std::vector<SearchReport> reports(explain ? rows : 0);
  request.feasible = feasible;
  request.options.rankings = rankings;
  request.options.reports_out = reports;

  py::array_t<uint64_t> agents = new_matrix<uint64_t>(rows, width);
  py::array_t<uint32_t> offers = new_matrix<uint32_t>(rows, width);
  py::array_t<uint32_t> versions = new_matrix<uint32_t>(rows, width);
  py::array_t<float> scores = new_matrix<float>(rows, width);
  py::array_t<int32_t> counts = new_array<int32_t>(rows);
  const auto agents_out = span_out(agents);
  const auto offers_out = span_out(offers);
  const auto versions_out = span_out(versions);
  const auto scores_out = span_out(scores);
  const auto counts_out = span_out(counts);
  Refusals refusals;
  unlocked([&] {
    kernel.match(actor, request, agents_out, offers_out, versions_out, scores_out, counts_out);
    for (size_t i = 0; explain && i < feasible.size(); ++i)
      if (i == 0 || !(feasible[i] == feasible[i - 1]))
        refusals += kernel.explain_match(actor, terms.space, feasible[i]);
  });
  py::object reasons = py::dict();
  if (explain) reasons = reasons_from(refusals);
  return py::make_tuple(agents, offers, versions, scores, counts, reasons, reports_from(reports));
}

// A budget refuses what is dearer, as the dispatch did that this explains.
py::dict explain_match(KernelHandle& handle, AgentId actor, const Terms& terms, py::object budget) {
  Kernel& kernel = handle.open();
  Feasible feasible = terms.feasible;
  if (!budget.is_none())
    feasible.price_max =
        std::min(feasible.price_max,
                 int64_t(std::min<uint64_t>(unsigned_of<uint64_t>(budget, "budget"), INT64_MAX)));
  const Refusals refusals =
      unlocked([&] { return kernel.explain_match(actor, terms.space, feasible); });
  return reasons_from(refusals);
}

}  // namespace

void register_capability(py::module_& module, KernelClass& kernel_class) {
  module.attr("SPACE_NONE") = index_none;
  kernel_class.def("create_space", &create_space)
      .def("space",
           [](KernelHandle& handle, py::object name) {
             Kernel& kernel = handle.open();
             const std::string text = text_of(name, "space");
             return unlocked([&] { return kernel.space(text); });
           })
      .def("space_find",
           [](KernelHandle& handle, py::object name) {
             Kernel& kernel = handle.open();
             const std::string text = text_of(name, "space");
             return unlocked([&] { return kernel.space_find(text); });
           })
      .def("space_spec", &space_spec)
      .def("publish", &publish)
      .def("withdraw",
           [](KernelHandle& handle, AgentId actor, py::object agent, py::object offer,
              uint32_t space) {
             Kernel& kernel = handle.open();
             const AgentId id = unsigned_of(agent, "agent");
             const auto number = unsigned_of<uint32_t>(offer, "offer");
             return unlocked([&] { return kernel.withdraw(actor, id, number, space); });
           })
      .def("match", &match)
      .def("explain_match", &explain_match)
      .def("tenant_index", [](KernelHandle& handle, py::object agent) {
        return handle.open().tenant_index(unsigned_of(agent, "tenant"));
      });
}

}  // namespace hanse::python
