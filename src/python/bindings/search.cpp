#include "search.hpp"

#include <cmath>

#include "handle.hpp"

namespace hanse::python {

namespace {

double real_of(py::handle value, const char* field) {
  if (PyBool_Check(value.ptr()) || !(PyFloat_Check(value.ptr()) || PyIndex_Check(value.ptr()))) {
    wrong_type(field, "a number", value);
  }
  const double number = PyFloat_AsDouble(value.ptr());
  if (number == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    wrong_type(field, "a number", value);
  }
  return number;
}

struct Masks {
  uint64_t all = 0, any = 0, none = 0;
};

Masks masks_of(py::handle value, const char* field) {
  if (value.is_none()) return {};
  const py::tuple masks = py::reinterpret_borrow<py::tuple>(value);
  return {unsigned_of(masks[0], field), unsigned_of(masks[1], field), unsigned_of(masks[2], field)};
}

// (least, most), None: no limit.
template <class T, class Convert>
void set_range(py::handle value, T& least, T& most, Convert&& convert) {
  const py::tuple range = py::reinterpret_borrow<py::tuple>(value);
  if (!range[0].is_none()) least = convert(range[0]);
  if (!range[1].is_none()) most = convert(range[1]);
}

Filter make_filter(py::object price, py::object tier, py::object skills, py::object policy,
                   py::object region, py::object tenant, py::object load, py::object reputation,
                   py::object updated) {
  Filter filter;
  Feasible& f = filter.feasible;
  const auto whole = [](const char* field) {
    return [field](py::handle v) { return signed_of(v, field, 0, INT64_MAX); };
  };
  const auto real = [](const char* field) {
    return [field](py::handle v) {
      const auto number = static_cast<float>(real_of(v, field));
      if (std::isnan(number)) throw Error(ErrorCode::out_of_range, field, "a bound is NaN");
      return number;
    };
  };
  set_range(price, f.price_min, f.price_max, whole("price"));
  set_range(updated, f.updated_min, f.updated_max, whole("updated"));
  set_range(load, f.load_min, f.load_max, real("load"));
  set_range(reputation, f.reputation_min, f.reputation_max, real("reputation"));
  set_range(tier, f.tier_min, f.tier_max,
            [](py::handle v) { return unsigned_of<uint8_t>(v, "tier"); });
  if (f.tier_min > f.tier_max)
    throw Error(ErrorCode::out_of_range, "tier", "the lowest is above the highest");
  const Masks skill = masks_of(skills, "skills"), rule = masks_of(policy, "policy");
  f.skills_all = skill.all;
  f.skills_any = skill.any;
  f.skills_none = skill.none;
  f.policy_all = rule.all;
  f.policy_none = rule.none;
  if (rule.any != 0)
    throw Error(ErrorCode::out_of_range, "policy", "any_of is for skills; want all_of or none_of");
  if (!region.is_none()) f.region = unsigned_of<uint16_t>(region, "region", UINT16_MAX - 1);
  if (!tenant.is_none()) f.tenant = unsigned_of<uint32_t>(tenant, "tenant", index_none - 1);
  return filter;
}

Ranking make_ranking(py::object price, py::object load, py::object reputation, py::object recency,
                     py::object now, py::object explore, py::object seed) {
  Ranking ranking;
  ranking.price = real_of(price, "ranking.price");
  ranking.load = real_of(load, "ranking.load");
  ranking.reputation = real_of(reputation, "ranking.reputation");
  ranking.recency = real_of(recency, "ranking.recency");
  ranking.now = signed_of(now, "ranking.now", 0, INT64_MAX);
  ranking.explore = real_of(explore, "ranking.explore");
  ranking.seed = unsigned_of(seed, "ranking.seed");
  return ranking;
}

template <class T>
std::vector<T> each_of(py::handle value, const char* field, const char* want) {
  std::vector<T> found;
  if (!py::isinstance<py::list>(value) && !py::isinstance<py::tuple>(value))
    wrong_type(field, want, value);
  for (const py::handle one : py::reinterpret_borrow<py::sequence>(value)) {
    if (!py::isinstance<T>(one)) wrong_type(field, want, one);
    found.push_back(*one.cast<const T*>());
  }
  return found;
}

}  // namespace

Feasible both(const Feasible& a, const Feasible& b) {
  Feasible f = a;
  f.price_min = std::max(a.price_min, b.price_min);
  f.price_max = std::min(a.price_max, b.price_max);
  f.updated_min = std::max(a.updated_min, b.updated_min);
  f.updated_max = std::min(a.updated_max, b.updated_max);
  f.load_min = std::max(a.load_min, b.load_min);
  f.load_max = std::min(a.load_max, b.load_max);
  f.reputation_min = std::max(a.reputation_min, b.reputation_min);
  f.reputation_max = std::min(a.reputation_max, b.reputation_max);
  f.tier_min = std::max(a.tier_min, b.tier_min);
  f.tier_max = std::min(a.tier_max, b.tier_max);
  f.skills_all |= b.skills_all;
  f.skills_none |= b.skills_none;
  f.policy_all |= b.policy_all;
  f.policy_none |= b.policy_none;
  if (a.skills_any != 0 && b.skills_any != 0 && a.skills_any != b.skills_any)
    throw Error(ErrorCode::out_of_range, "skills", "one any_of at most can be in a conjunction");
  f.skills_any |= b.skills_any;
  // Two different ones leave no offer.
  const bool apart = (a.region != UINT16_MAX && b.region != UINT16_MAX && a.region != b.region) ||
                     (a.tenant != index_none && b.tenant != index_none && a.tenant != b.tenant);
  if (apart) f.tier_min = 255, f.tier_max = 0;
  f.region = std::min(a.region, b.region);
  f.tenant = std::min(a.tenant, b.tenant);
  if (a.exclude_agent == index_none) f.exclude_agent = b.exclude_agent;
  return f;
}

std::vector<Feasible> feasible_of(py::handle filter, py::handle max_price, size_t query_count,
                                  const Feasible& base) {
  std::vector<Feasible> feasible;
  if (filter.is_none()) {
    feasible.push_back(base);
  } else if (py::isinstance<Filter>(filter)) {
    feasible.push_back(both(base, filter.cast<const Filter*>()->feasible));
  } else {
    for (const Filter& one : each_of<Filter>(filter, "filter", "a filter, or a list of them"))
      feasible.push_back(both(base, one.feasible));
    if (feasible.size() != query_count) check_count("filter", query_count, feasible.size());
  }
  if (max_price.is_none()) return feasible;
  if (!py::isinstance<py::array>(max_price)) {
    const int64_t most = signed_of(max_price, "max_price", 0, INT64_MAX);
    for (Feasible& f : feasible) f.price_max = std::min(f.price_max, most);
    return feasible;
  }
  const py::array prices = array_of<int64_t>(max_price, "max_price", 1);
  check_count("max_price", query_count, static_cast<size_t>(prices.size()));
  if (feasible.size() == 1) feasible.resize(query_count, Feasible(feasible[0]));
  for (size_t i = 0; i < query_count; ++i) {
    const int64_t most = span_of<int64_t>(prices)[i];
    if (most < 0)
      throw Error(ErrorCode::out_of_range, "max_price",
                  "row " + std::to_string(i) + ": " + std::to_string(most) + " is below 0");
    feasible[i].price_max = std::min(feasible[i].price_max, most);
  }
  return feasible;
}

std::vector<Ranking> rankings_of(py::handle ranking) {
  if (ranking.is_none()) return {};
  if (py::isinstance<Ranking>(ranking)) return {*ranking.cast<const Ranking*>()};
  return each_of<Ranking>(ranking, "ranking", "a ranking, or a list of them");
}

MaskArgument::MaskArgument(py::handle mask) {
  if (mask.is_none()) return;
  if (!py::isinstance<py::array>(mask)) wrong_type("mask", "a bool or uint64 array", mask);
  const py::ssize_t dimensions = py::reinterpret_borrow<py::array>(mask).ndim();
  if (dimensions != 1 && dimensions != 2)
    throw Error(ErrorCode::dimension_mismatch, "mask",
                "want 1 or 2 dimensions, have " + std::to_string(dimensions));
  const auto shape = [&](size_t columns_at) {
    return std::pair{dimensions == 2 ? static_cast<size_t>(array_.shape(0)) : 1,
                     static_cast<size_t>(array_.shape(static_cast<py::ssize_t>(columns_at)))};
  };
  const auto last = static_cast<size_t>(dimensions - 1);
  if (py::isinstance<py::array_t<uint64_t>>(mask)) {
    array_ = array_of<uint64_t>(mask, "mask", dimensions);
    const auto [rows, columns] = shape(last);
    view_ = {static_cast<const uint64_t*>(array_.data()), rows, columns};
    return;
  }
  array_ = array_of<bool>(mask, "mask", dimensions);
  const auto [rows, columns] = shape(last);
  const size_t width = (columns + 63) / 64;
  words_.resize(rows * std::max<size_t>(1, width));
  const auto* values = static_cast<const uint8_t*>(array_.data());
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      words_[r * width + c / 64] |= uint64_t(values[r * columns + c] != 0) << c % 64;
  view_ = {words_.data(), rows, width};
}

SearchOptions options_of(py::handle k, py::handle threads, py::handle recall, py::handle effort,
                         py::handle device) {
  SearchOptions options;
  options.k = unsigned_of<uint32_t>(k, "k", 1024);
  options.threads = unsigned_of<uint32_t>(threads, "threads", 1024);
  if (options.k == 0) throw Error(ErrorCode::out_of_range, "k", "want 1 … 1024, have 0");
  if (options.threads == 0)
    throw Error(ErrorCode::out_of_range, "threads", "want 1 … 1024, have 0");
  options.recall = real_of(recall, "recall");
  if (!effort.is_none()) {
    options.effort = unsigned_of<uint32_t>(effort, "effort", 4096);
    if (options.effort < 16)
      throw Error(ErrorCode::out_of_range, "effort",
                  "want 16 … 4096, have " + std::to_string(options.effort));
  }
  if (!device.is_none()) {
    if (text_of(device, "device") != "cuda")
      throw Error(ErrorCode::out_of_range, "device",
                  "want None or cuda, have " + text_of(device, "device"));
    options.device = true;
  }
  return options;
}

py::list reports_from(std::span<const SearchReport> reports) {
  py::list list;
  for (const SearchReport& r : reports)
    list.append(py::make_tuple(plan_name(r.plan), r.feasible, r.candidates, r.hops, r.visits,
                               r.pending, r.standing));
  return list;
}

py::dict reasons_from(const Refusals& r) {
  py::dict reasons;
  for (const auto& [name, count] : {std::pair{"withdrawn", r.withdrawn},
                                    {"revoked", r.revoked},
                                    {"slots", r.slots},
                                    {"tenant", r.tenant},
                                    {"policy", r.policy},
                                    {"price", r.price},
                                    {"tier", r.tier},
                                    {"skills", r.skills},
                                    {"region", r.region},
                                    {"load", r.load},
                                    {"reputation", r.reputation},
                                    {"updated", r.updated}})
    reasons[name] = count;
  return reasons;
}

void register_search(py::module_& module) {
  py::class_<Filter>(module, "Filter")
      .def(py::init(&make_filter))
      .def("both",
           [](const Filter& a, const Filter& b) { return Filter{both(a.feasible, b.feasible)}; })
      .def("with_tenant", [](const Filter& filter, py::object tenant) {
        Filter with = filter;
        with.feasible.tenant = unsigned_of<uint32_t>(tenant, "tenant", index_none - 1);
        return with;
      });
  py::class_<Ranking>(module, "Ranking").def(py::init(&make_ranking));
}

}  // namespace hanse::python
