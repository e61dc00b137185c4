#include "batch.hpp"

#include <algorithm>

#include "columns.hpp"
#include "convert.hpp"
#include "mailbox/batch_columns.hpp"

namespace hanse::python {

namespace {

template <class T>
py::array view_of(const T* column, size_t count, py::handle owner) {
  py::array view(py::dtype::of<T>(), {static_cast<py::ssize_t>(count)},
                 {static_cast<py::ssize_t>(sizeof(T))}, column, owner);
  view.attr("flags").attr("writeable") = false;
  return view;
}

template <class T>
py::array filled(size_t count, T value) {
  py::array_t<T> array = new_array<T>(count);
  std::fill_n(array.mutable_data(), count, value);
  return array;
}

py::array rows_of(const uint8_t* first, size_t count, size_t width, size_t step, py::handle owner) {
  py::array view(py::dtype::of<uint8_t>(),
                 {static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(width)},
                 {static_cast<py::ssize_t>(step), py::ssize_t{1}}, first, owner);
  view.attr("flags").attr("writeable") = false;
  return view;
}

// Rows cut at the longest payload: those of the log are zero behind theirs.
py::array payloads_of(const MessageColumns& columns, py::handle owner) {
  size_t width = columns.size;
  if (columns.sizes) width = *std::max_element(columns.sizes, columns.sizes + columns.count);
  return rows_of(columns.rows, columns.count, width, message_inline_bytes, owner);
}

// [n, w], w the longest. A view of the arena where all rows have that size and a fixed distance,
// else a copy padded with zeros: a short row's slot may hold bytes of an older message.
py::array payloads_of(const std::vector<Message>& messages, py::handle owner) {
  size_t width = 0;
  for (const Message& message : messages) width = std::max(width, message.payload.size());
  if (messages.size() > 1 && width > 0) {
    const uint8_t* first = messages[0].payload.data();
    const std::ptrdiff_t step = messages[1].payload.data() - first;
    bool regular = step >= static_cast<std::ptrdiff_t>(width);
    for (size_t i = 0; regular && i < messages.size(); ++i)
      regular = messages[i].payload.size() == width &&
                messages[i].payload.data() == first + static_cast<std::ptrdiff_t>(i) * step;
    if (regular) return rows_of(first, messages.size(), width, static_cast<size_t>(step), owner);
  }
  py::array_t<uint8_t> copy(
      {static_cast<py::ssize_t>(messages.size()), static_cast<py::ssize_t>(width)});
  uint8_t* out = copy.mutable_data();
  for (const Message& message : messages) {
    if (!message.payload.empty()) std::memcpy(out, message.payload.data(), message.payload.size());
    std::memset(out + message.payload.size(), 0, width - message.payload.size());
    out += width;
  }
  return copy;
}

py::array column_of_log(const MessageColumns& columns, const std::string& name, py::handle owner) {
  const size_t count = columns.count;
  if (name == "to") return view_of(columns.to, count, owner);
  if (name == "sequence") return view_of(columns.sequences, count, owner);
  if (name == "payload") return payloads_of(columns, owner);
  if (name == "sender")
    return columns.senders ? view_of(columns.senders, count, owner)
                           : filled<uint64_t>(count, columns.sender);
  if (name == "size")
    return columns.sizes ? view_of(columns.sizes, count, owner)
                         : filled<uint32_t>(count, columns.size);
  if (name == "kind") return filled<uint8_t>(count, static_cast<uint8_t>(MessageKind::data));
  if (name == "request") return filled<uint64_t>(count, 0);
  throw Error(ErrorCode::out_of_range, "name", "no such column: " + name);
}

template <class T, class Get>
py::array column_from(const std::vector<Message>& messages, Get&& get) {
  py::array_t<T> array = new_array<T>(messages.size());
  T* out = array.mutable_data();
  for (size_t i = 0; i < messages.size(); ++i) out[i] = static_cast<T>(get(messages[i]));
  return array;
}

}  // namespace

py::array column_of(py::object self, const std::string& name) {
  const MessageBatch& batch = self.cast<Batch&>().messages;
  if (const MessageColumns* columns = batch.columns()) return column_of_log(*columns, name, self);
  const std::vector<Message>& all = batch.messages();
  if (name == "payload") return payloads_of(all, self);
  if (name == "to") return column_from<uint64_t>(all, [](const Message& m) { return m.to; });
  if (name == "sender")
    return column_from<uint64_t>(all, [](const Message& m) { return m.sender; });
  if (name == "kind") return column_from<uint8_t>(all, [](const Message& m) { return m.kind; });
  if (name == "request")
    return column_from<uint64_t>(all, [](const Message& m) { return m.request; });
  if (name == "sequence")
    return column_from<uint64_t>(all, [](const Message& m) { return m.sequence; });
  if (name == "size")
    return column_from<uint32_t>(all, [](const Message& m) { return m.payload.size(); });
  throw Error(ErrorCode::out_of_range, "name", "no such column: " + name);
}

}  // namespace hanse::python
