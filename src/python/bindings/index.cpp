#include "capability/index.hpp"

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

// One writer or many readers: the GIL is released while either works.
struct IndexHandle {
  CapabilityIndex index;
  mutable std::shared_mutex mutex;

  IndexHandle(uint32_t dim, Metric metric) : index(dim, metric) {}
};

std::unique_ptr<IndexHandle> create(py::object dim, py::object metric) {
  const std::string name = text_of(metric, "metric");
  if (name != "cosine" && name != "inner_product")
    throw Error(ErrorCode::out_of_range, "metric", "want cosine or inner_product, have " + name);
  return std::make_unique<IndexHandle>(unsigned_of<uint32_t>(dim, "dim"),
                                       name == "cosine" ? Metric::cosine : Metric::inner_product);
}

void put(IndexHandle& handle, py::object ids, py::object vectors, bool replace) {
  const py::array id_array = array_of<uint64_t>(ids, "ids", 1);
  const py::array vector_array = array_of<float>(vectors, "vectors", 2);
  check_count("vectors", static_cast<size_t>(id_array.size()),
              static_cast<size_t>(vector_array.shape(0)));
  const auto id_span = span_of<uint64_t>(id_array);
  const auto rows = matrix_of<float>(vector_array);
  unlocked([&] {
    const std::unique_lock lock(handle.mutex);
    if (replace)
      handle.index.upsert(id_span, rows);
    else
      handle.index.add(id_span, rows);
  });
}

py::tuple search(const IndexHandle& handle, py::object queries, py::object k, py::object threads) {
  const py::array query_array = array_of<float>(queries, "queries", 2);
  const auto rows = matrix_of<float>(query_array);
  const auto width = unsigned_of<uint32_t>(k, "k", 1024);
  const auto thread_count = unsigned_of<uint32_t>(threads, "threads", 1024);
  if (width == 0) throw Error(ErrorCode::out_of_range, "k", "want 1 … 1024, have 0");
  if (thread_count == 0) throw Error(ErrorCode::out_of_range, "threads", "want 1 … 1024, have 0");
  py::array_t<uint64_t> ids = new_matrix<uint64_t>(rows.rows, width);
  py::array_t<float> scores = new_matrix<float>(rows.rows, width);
  py::array_t<int32_t> counts = new_array<int32_t>(rows.rows);
  const MatrixView<uint64_t> ids_out{ids.mutable_data(), rows.rows, width};
  const MatrixView<float> scores_out{scores.mutable_data(), rows.rows, width};
  const auto counts_out = span_out(counts);
  unlocked([&] {
    const std::shared_lock lock(handle.mutex);
    handle.index.search(rows, width, ids_out, scores_out, counts_out, thread_count);
  });
  return py::make_tuple(ids, scores, counts);
}

py::array_t<float> get(const IndexHandle& handle, py::object id) {
  const std::shared_lock lock(handle.mutex);
  const std::vector<float> vector = handle.index.get(unsigned_of(id, "id"));
  py::array_t<float> array = new_array<float>(vector.size());
  std::copy(vector.begin(), vector.end(), array.mutable_data());
  return array;
}

}  // namespace

void register_index(py::module_& module) {
  py::class_<IndexHandle>(module, "CapabilityIndex")
      .def(py::init(&create))
      .def("put", &put)
      .def("remove",
           [](IndexHandle& handle, py::object ids) {
             const py::array id_array = array_of<uint64_t>(ids, "ids", 1);
             const auto id_span = span_of<uint64_t>(id_array);
             return unlocked([&] {
               const std::unique_lock lock(handle.mutex);
               return handle.index.remove(id_span);
             });
           })
      .def("search", &search)
      .def("get", &get)
      .def("contains",
           [](const IndexHandle& handle, uint64_t id) {
             const std::shared_lock lock(handle.mutex);
             return handle.index.contains(id);
           })
      .def("dim", [](const IndexHandle& handle) { return handle.index.dim(); })
      .def("count",
           [](const IndexHandle& handle) {
             const std::shared_lock lock(handle.mutex);
             return handle.index.count();
           })
      .def("memory_bytes", [](const IndexHandle& handle) {
        const std::shared_lock lock(handle.mutex);
        return handle.index.memory_bytes();
      });
}

}  // namespace hanse::python
