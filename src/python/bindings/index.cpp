#include "capability/index.hpp"

#include "convert.hpp"
#include "handle.hpp"
#include "search.hpp"

namespace hanse::python {

namespace {

std::unique_ptr<CapabilityIndex> create(py::object dim, py::object metric, py::object background) {
  const std::string name = text_of(metric, "metric");
  if (name != "cosine" && name != "inner_product")
    throw Error(ErrorCode::out_of_range, "metric", "want cosine or inner_product, have " + name);
  IndexOptions options;
  options.dim = unsigned_of<uint32_t>(dim, "dim");
  options.metric = name == "cosine" ? Metric::cosine : Metric::inner_product;
  options.background = truth_of(background, "background");
  return std::make_unique<CapabilityIndex>(options);
}

// None: not given. Otherwise one for all, or one a row.
template <class T>
class OptionalColumn {
 public:
  OptionalColumn(py::handle value, const char* field, size_t count) {
    if (value.is_none()) return;
    if constexpr (std::is_floating_point_v<T>) {
      if (py::isinstance<py::array>(value)) {
        array_ = array_of<T>(value, field, 1);
        check_count(field, count, static_cast<size_t>(array_->size()));
      } else if (PyFloat_Check(value.ptr()) || PyLong_CheckExact(value.ptr())) {
        one_ = static_cast<T>(value.cast<double>());
        single_ = true;
      } else {
        wrong_type(field, "a number or a float32 array", value);
      }
    } else {
      whole_.emplace(value, field, count);
    }
  }
  Column<T> column() const {
    if (array_) return {span_of<T>(*array_)};
    if (single_) return {std::span<const T>(&one_, 1)};
    if constexpr (!std::is_floating_point_v<T>)
      if (whole_) return whole_->column();
    return {};
  }

 private:
  struct Nothing {};
  std::optional<std::conditional_t<std::is_floating_point_v<T>, Nothing, ColumnArgument<T>>> whole_;
  std::optional<py::array> array_;
  T one_{};
  bool single_ = false;
};

// The attributes of a change, by name.
struct ColumnArguments {
  OptionalColumn<int64_t> price, updated;
  OptionalColumn<float> load, reputation;
  OptionalColumn<uint64_t> skills, policy_bits;
  OptionalColumn<uint32_t> tenant;
  OptionalColumn<uint16_t> region;
  OptionalColumn<uint8_t> tier;

  ColumnArguments(const py::dict& given, size_t count)
      : price(of(given, "price"), "price", count),
        updated(of(given, "updated"), "updated", count),
        load(of(given, "load"), "load", count),
        reputation(of(given, "reputation"), "reputation", count),
        skills(of(given, "skills"), "skills", count),
        policy_bits(of(given, "policy_bits"), "policy_bits", count),
        tenant(of(given, "tenant"), "tenant", count),
        region(of(given, "region"), "region", count),
        tier(of(given, "tier"), "tier", count) {}

  static py::object of(const py::dict& given, const char* name) {
    return given.contains(name) ? py::object(given[name]) : py::none();
  }
  // `this` must stay where it is while they are used.
  IndexColumns columns() const {
    return {price.column(),      updated.column(), load.column(),
            reputation.column(), skills.column(),  policy_bits.column(),
            tenant.column(),     region.column(),  tier.column()};
  }
};

uint32_t thread_count_of(py::handle threads) {
  const auto count = unsigned_of<uint32_t>(threads, "threads", 1024);
  if (count == 0) throw Error(ErrorCode::out_of_range, "threads", "want 1 … 1024, have 0");
  return count;
}

void put(CapabilityIndex& index, py::object ids, py::object vectors, py::dict given, bool replace,
         py::object threads) {
  const py::array id_array = array_of<uint64_t>(ids, "ids", 1);
  const py::array vector_array = array_of<float>(vectors, "vectors", 2);
  check_count("vectors", static_cast<size_t>(id_array.size()),
              static_cast<size_t>(vector_array.shape(0)));
  const auto id_span = span_of<uint64_t>(id_array);
  const auto rows = matrix_of<float>(vector_array);
  const ColumnArguments columns(given, id_span.size());
  const uint32_t count = thread_count_of(threads);
  unlocked([&] {
    if (replace)
      index.upsert(id_span, rows, columns.columns(), count);
    else
      index.add(id_span, rows, columns.columns(), count);
  });
}

void update(CapabilityIndex& index, py::object ids, py::dict given) {
  const py::array id_array = array_of<uint64_t>(ids, "ids", 1);
  const auto id_span = span_of<uint64_t>(id_array);
  const ColumnArguments columns(given, id_span.size());
  unlocked([&] { index.update(id_span, columns.columns()); });
}

py::tuple search(const CapabilityIndex& index, py::object queries, py::object k, py::object threads,
                 py::object filter, py::object max_price, py::object mask, py::object ranking,
                 py::object recall, py::object effort, bool explain, py::object device) {
  const py::array query_array = array_of<float>(queries, "queries", 2);
  const auto rows = matrix_of<float>(query_array);
  SearchOptions options = options_of(k, threads, recall, effort, device);
  const std::vector<Feasible> feasible = feasible_of(filter, max_price, rows.rows, {});
  const std::vector<Ranking> rankings = rankings_of(ranking);
  const MaskArgument masks(mask);
  std::vector<SearchReport> reports(explain ? rows.rows : 0);
  options.rankings = rankings;
  options.masks = masks.view();
  options.reports_out = reports;
  py::array_t<uint64_t> ids = new_matrix<uint64_t>(rows.rows, options.k);
  py::array_t<float> scores = new_matrix<float>(rows.rows, options.k);
  py::array_t<int32_t> counts = new_array<int32_t>(rows.rows);
  const MatrixView<uint64_t> ids_out{ids.mutable_data(), rows.rows, options.k};
  const MatrixView<float> scores_out{scores.mutable_data(), rows.rows, options.k};
  const auto counts_out = span_out(counts);
  Refusals refusals;
  unlocked([&] {
    index.search(rows, feasible, options, ids_out, scores_out, counts_out);
    for (size_t i = 0; explain && i < feasible.size(); ++i)
      if (i == 0 || !(feasible[i] == feasible[i - 1])) refusals += index.explain(feasible[i]);
  });
  if (!explain) return py::make_tuple(ids, scores, counts);
  return py::make_tuple(ids, scores, counts, reports_from(reports), reasons_from(refusals));
}

py::array_t<float> get(const CapabilityIndex& index, py::object id) {
  const std::vector<float> vector = index.get(unsigned_of(id, "id"));
  py::array_t<float> array = new_array<float>(vector.size());
  std::copy(vector.begin(), vector.end(), array.mutable_data());
  return array;
}

py::tuple ids(const CapabilityIndex& index) {
  const size_t count = index.place_count();
  py::array_t<uint64_t> ids = new_array<uint64_t>(count);
  py::array_t<bool> filled = new_array<bool>(count);
  const auto ids_out = span_out(ids);
  const std::span<uint8_t> filled_out{reinterpret_cast<uint8_t*>(filled.mutable_data()), count};
  unlocked([&] { index.ids(ids_out, filled_out); });
  return py::make_tuple(ids, filled);
}

py::array_t<uint32_t> places(const CapabilityIndex& index, py::object ids) {
  const py::array id_array = array_of<uint64_t>(ids, "ids", 1);
  const auto id_span = span_of<uint64_t>(id_array);
  py::array_t<uint32_t> places = new_array<uint32_t>(id_span.size());
  const auto places_out = span_out(places);
  unlocked([&] { index.places(id_span, places_out); });
  return places;
}

py::dict stats(const CapabilityIndex& index) {
  const IndexStats s = unlocked([&] { return index.stats(); });
  py::dict plans, all;
  for (size_t p = 0; p < plan_count; ++p) plans[plan_name(Plan(p))] = s.plans[p];
  for (const auto& [name, value] : {std::pair{"count", s.count},
                                    {"places", s.places},
                                    {"memory_bytes", s.memory_bytes},
                                    {"pending", s.pending},
                                    {"graph_nodes", s.graph_nodes},
                                    {"graph_removed", s.graph_removed},
                                    {"graph_edges", s.graph_edges},
                                    {"graph_memory_bytes", s.graph_memory_bytes},
                                    {"walks", s.searches},
                                    {"hops", s.hops},
                                    {"visits", s.visits},
                                    {"standing_hits", s.standing_hits},
                                    {"device_memory_bytes", s.device_memory_bytes},
                                    {"audited", s.audited}})
    all[name] = value;
  all["quantised"] = s.quantised;
  all["plans"] = plans;
  all["recall_estimate"] =
      s.recall_estimate < 0 ? py::object(py::none()) : py::object(py::float_(s.recall_estimate));
  return all;
}

}  // namespace

void register_index(py::module_& module) {
  py::class_<CapabilityIndex>(module, "CapabilityIndex")
      .def(py::init(&create))
      .def("put", &put)
      .def("update", &update)
      .def("remove",
           [](CapabilityIndex& index, py::object ids) {
             const py::array id_array = array_of<uint64_t>(ids, "ids", 1);
             const auto id_span = span_of<uint64_t>(id_array);
             return unlocked([&] { return index.remove(id_span); });
           })
      .def("search", &search)
      .def("get", &get)
      .def("ids", &ids)
      .def("places", &places)
      .def("stats", &stats)
      .def("fold",
           [](CapabilityIndex& index, py::object rows, py::object threads) {
             const auto count = unsigned_of<uint32_t>(rows, "rows");
             const uint32_t thread_count = thread_count_of(threads);
             return unlocked([&] { return index.fold(count, thread_count); });
           })
      .def("audit",
           [](CapabilityIndex& index, py::object queries) {
             const auto count = unsigned_of<uint32_t>(queries, "queries");
             return unlocked([&] { return index.audit(count); });
           })
      .def("contains", [](const CapabilityIndex& index, uint64_t id) { return index.contains(id); })
      .def("save",
           [](const CapabilityIndex& index, py::object path) {
             const std::string text = text_of(path, "path");
             unlocked([&] { index.save(text); });
           })
      .def("to_bytes",
           [](const CapabilityIndex& index) {
             return bytes_from(unlocked([&] { return index.to_bytes(); }));
           })
      .def("dim", &CapabilityIndex::dim)
      .def("metric",
           [](const CapabilityIndex& index) {
             return index.metric() == Metric::cosine ? "cosine" : "inner_product";
           })
      .def("background", &CapabilityIndex::background)
      .def("count", [](const CapabilityIndex& index) { return index.count(); })
      .def("memory_bytes", [](const CapabilityIndex& index) { return index.memory_bytes(); });
  module.def("load_index", [](py::object path, bool view, bool background) {
    const std::string text = text_of(path, "path");
    return unlocked([&] { return CapabilityIndex::load(text, view, background); });
  });
  module.def("index_from_bytes", [](py::object bytes, bool background) {
    const BytesArgument data(bytes, "bytes");
    const Bytes view = data.view();
    return unlocked([&] { return CapabilityIndex::from_bytes(view, background); });
  });
}

}  // namespace hanse::python
