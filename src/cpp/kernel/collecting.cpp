#include "kernel/collecting.hpp"

#include "journal/extents.hpp"
#include "kernel/inner.hpp"

namespace hanse {

namespace {

// Finds every extent that a record names, however deep.
struct Names {
  std::set<Digest>& named;

  void operator()(const char*, Bulk& bulk) {
    if (bulk.in_extent()) named.insert(bulk.extent);
  }
  template <codec::Fields T>
  void operator()(const char*, std::vector<T>& values) {
    for (T& value : values) value.fields(*this);
  }
  template <class T>
  void operator()(const char*, T&) {}
};

void add_names(Bytes record, std::set<Digest>& named) {
  ByteReader reader(record);
  const Envelope envelope = decode_envelope(reader);
  visit_record(envelope, reader, [&](auto&& body) { body.fields(Names{named}); });
}

}  // namespace

void collect_extents(Kernel::Inner& in, CompactionInfo& info) {
  if (!in.disk->exists(extent_directory) || in.disk->list(extent_directory).empty()) return;
  ExtentStore& extents = in.journal->extents();
  extents.begin_collecting();
  std::set<Digest> named;
  const auto add = [&](const Digest& extent) { named.insert(extent); };
  {
    const std::lock_guard lock(in.writer);
    in.tasks.each_extent(add);
    in.durable.each_extent(add);
  }
  // What the state has let go of must be let go of on disk before its extent goes.
  in.journal->flush();
  ScanCallbacks callbacks;
  callbacks.unchecked = true;
  callbacks.record = [&](Position, Bytes record, const Digest&) { add_names(record, named); };
  const uint64_t first = list_segments(*in.disk).front();
  read_log(*in.disk, callbacks, start_of_segment(*in.disk, first), in.journal->durable_count());
  const ExtentStore::Collected collected = extents.collect(named);
  info.freed_extents = collected.count;
  info.freed_extent_bytes = collected.bytes;
}

}  // namespace hanse
