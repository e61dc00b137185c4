#include "c/handle.hpp"

namespace hanse::c {

namespace {

static_assert(int(hanse_metric_cosine) == int(Metric::cosine));
static_assert(int(hanse_metric_inner_product) == int(Metric::inner_product));

template <class T>
Column<T> column_of(const T* values, size_t count) {
  static constexpr T none[1] = {};
  return values == nullptr ? Column<T>{none} : Column<T>{{values, count}};
}

// Before the first publish there is no default space: it is created by that publish.
uint32_t space_to_publish_in(Kernel& kernel, const char* name) {
  return name == nullptr ? index_none : kernel.space(name);
}

Kernel::PublishRequest publication_of(Kernel& kernel, const hanse_offers& from) {
  Kernel::PublishRequest request;
  request.agents = required_array(from.agents, from.count, "offers.agents");
  request.space = space_to_publish_in(kernel, from.space);
  request.offers.offer = from.offer;
  const size_t count = from.count;
  if (from.dim == 0) throw Error(ErrorCode::out_of_range, "offers.dim", "must not be 0");
  required_array(from.vectors, count, "offers.vectors");
  request.offers.vectors = {from.vectors, count, from.dim};
  request.offers.price = column_of(from.prices, count);
  request.offers.tier = column_of(from.tiers, count);
  request.offers.skills = column_of(from.skills, count);
  request.offers.region = column_of(from.regions, count);
  request.offers.policy_bits = column_of(from.policy_bits, count);
  request.offers.slots = column_of(from.slots, count);
  if (from.versions != nullptr) request.expected = {from.versions, count};
  return request;
}

}  // namespace

uint32_t space_of(Kernel& kernel, const char* name) {
  return kernel.space(text_or(name, "default"));
}

Feasible feasible_of(Kernel& kernel, const hanse_feasible* given) {
  Feasible feasible;
  if (given == nullptr) return feasible;
  const hanse_feasible& from = read_struct(given, "feasible");
  for (const uint8_t zero : from.zero) expect_zero(zero, "feasible.zero");
  if (flag_of(from.price_limited, "feasible.price_limited")) feasible.price_max = from.price_max;
  if (flag_of(from.tier_limited, "feasible.tier_limited")) {
    if (from.tier_min > from.tier_max)
      throw Error(ErrorCode::out_of_range, "feasible.tier_min", from.tier_min, from.tier_max);
    feasible.tier_min = from.tier_min;
    feasible.tier_max = from.tier_max;
  }
  feasible.skills_all = from.skills_all;
  feasible.skills_any = from.skills_any;
  feasible.skills_none = from.skills_none;
  feasible.policy_all = from.policy_all;
  feasible.policy_none = from.policy_none;
  if (flag_of(from.region_limited, "feasible.region_limited")) {
    if (from.region == UINT16_MAX)
      throw Error(ErrorCode::out_of_range, "feasible.region", from.region, UINT16_MAX - 1);
    feasible.region = from.region;
  }
  if (from.tenant != HANSE_ID_NONE) feasible.tenant = kernel.tenant_index(from.tenant);
  return feasible;
}

}  // namespace hanse::c

using namespace hanse;
using namespace hanse::c;

extern "C" {

hanse_status hanse_space_create(hanse_kernel* kernel, hanse_id actor, const char* name,
                                uint32_t dim, int32_t metric, const char* model) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    if (metric != hanse_metric_cosine && metric != hanse_metric_inner_product)
      throw Error(ErrorCode::out_of_range, "metric",
                  std::to_string(metric) + " is no hanse_metric");
    in.create_space(actor_of(in, actor), {&required(name, "name"), dim, Metric(metric),
                                          std::string(text_or(model, ""))});
    return 0;
  });
}

hanse_status hanse_publish(hanse_kernel* kernel, hanse_id actor, const hanse_offers* offers,
                           uint32_t* versions_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const hanse_offers& from = read_struct(offers, "offers");
    const Kernel::PublishRequest request = publication_of(in, from);
    std::vector<uint32_t> versions(from.count);
    in.publish(actor_of(in, actor), request, versions);
    if (versions_out != nullptr) std::copy(versions.begin(), versions.end(), versions_out);
    return 0;
  });
}

hanse_status hanse_match(hanse_kernel* kernel, hanse_id actor, const hanse_match_request* request,
                         hanse_found* found_out, int32_t* counts_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const hanse_match_request& from = read_struct(request, "request");
    expect_zero(from.zero, "request.zero");
    constexpr uint32_t k_max = 1024;
    if (from.k == 0 || from.k > k_max)
      throw Error(ErrorCode::out_of_range, "request.k", from.k, k_max);
    const size_t rows = from.query_count, cells = rows * from.k;
    required_array(from.queries, rows, "request.queries");
    const auto found = required_array(found_out, cells, "found_out");
    const auto counts = required_array(counts_out, rows, "counts_out");

    const Feasible feasible = feasible_of(in, from.feasible);
    Kernel::MatchRequest match;
    match.queries = {from.queries, rows, from.dim};
    match.space = space_of(in, from.space);
    match.options.k = from.k;
    match.options.threads = from.threads == 0 ? 1 : from.threads;
    match.feasible = {&feasible, 1};
    std::vector<AgentId> agents(cells);
    std::vector<uint32_t> offers(cells), versions(cells);
    std::vector<float> scores(cells);
    in.match(actor_of(in, actor), match, agents, offers, versions, scores, counts);
    for (size_t i = 0; i < cells; ++i) found[i] = {agents[i], offers[i], versions[i], scores[i], 0};
    return 0;
  });
}

}  // extern "C"
