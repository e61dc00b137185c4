#include "c/handle.hpp"
#include "c/library.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

// The layout that callers have compiled in. Fields are appended, and the minimum in check_size
// stays what it was.
static_assert(sizeof(hanse_kernel_options) == 48);
static_assert(sizeof(hanse_feasible) == 72);
static_assert(sizeof(hanse_found) == 24);
static_assert(sizeof(hanse_delivery) == 152);
static_assert(sizeof(hanse_receipt) == 240);
static_assert(sizeof(hanse_completion) == 88);
static_assert(sizeof(hanse_task) == 136);
static_assert(sizeof(hanse_verification) == 112);

KernelOptions options_of(const char* directory, const hanse_kernel_options* given) {
  KernelOptions options;
  options.directory = text_or(directory, "");
  if (directory != nullptr && options.directory.empty())
    throw Error(ErrorCode::empty, "directory", "is an empty text: NULL means memory only");
  if (given == nullptr) return options;

  const hanse_kernel_options& from = read_struct(given, "options");
  switch (from.durability) {
    case hanse_durability_default:
      break;
    case hanse_durability_memory:
      options.durability = Durability::memory;
      break;
    case hanse_durability_batch:
      options.durability = Durability::batch;
      break;
    case hanse_durability_each:
      options.durability = Durability::each;
      break;
    default:
      throw Error(ErrorCode::out_of_range, "options.durability",
                  std::to_string(from.durability) + " is no hanse_durability");
  }
  if (from.memory_max != 0) options.memory_max = from.memory_max;
  if (from.segment_size_bytes_max != 0)
    options.segment_size_bytes_max = from.segment_size_bytes_max;
  options.seed = from.seed;
  options.fee_basis_points = from.fee_basis_points;
  options.read_only = flag_of(from.read_only, "options.read_only");
  expect_zero(from.zero, "options.zero");
  if (from.shards > 64) throw Error(ErrorCode::out_of_range, "options.shards", from.shards, 64);
  options.shard_count = from.shards == 0 ? 1 : from.shards;
  return options;
}

void tell_opened(Kernel& kernel, std::string_view where) {
  const JournalStatus status = kernel.journal().status();
  if (status.torn_bytes_cut != 0)
    log(hanse_log_warning, (std::string(where) + ": cut a torn tail of " +
                            std::to_string(status.torn_bytes_cut) + " bytes")
                               .c_str());
  log(hanse_log_info,
      ("opened " + std::string(where) + ", " + std::to_string(status.count) + " records").c_str());
}

void copy_digest(const Digest& digest, uint8_t* out) {
  std::memcpy(out, digest.data(), digest.size());
}

}  // namespace

extern "C" {

hanse_status hanse_open(const char* directory, const hanse_kernel_options* options,
                        hanse_kernel** kernel_out) {
  return guard([&] {
    required(kernel_out, "kernel_out") = nullptr;
    auto handle = std::make_unique<hanse_kernel>();
    settle_allocator();
    handle->forks = fork_count();
    handle->kernel = Kernel::open(options_of(directory, options));
    *kernel_out = handle.release();
    if (logs(hanse_log_warning)) tell_opened(*(*kernel_out)->kernel, text_or(directory, "memory"));
    return 0;
  });
}

hanse_status hanse_close(hanse_kernel* kernel) {
  return guard([&] {
    const std::unique_ptr<hanse_kernel> owned(kernel);
    if (!owned) return 0;
    owned->kernel->close();
    log(hanse_log_info, "closed a kernel");
    return 0;
  });
}

hanse_status hanse_flush(hanse_kernel* kernel) {
  return guard([&] {
    open_kernel(kernel).flush();
    return 0;
  });
}

hanse_status hanse_root(hanse_kernel* kernel, hanse_id* root_out) {
  return guard([&] {
    required(root_out, "root_out") = open_kernel(kernel).root();
    return 0;
  });
}

hanse_status hanse_journal_root(hanse_kernel* kernel, uint8_t* root_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    copy_digest(in.journal().root(), &required(root_out, "root_out"));
    return 0;
  });
}

hanse_status hanse_journal_count(hanse_kernel* kernel, uint64_t* count_out,
                                 uint64_t* durable_count_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(count_out, "count_out") = in.journal().count();
    if (durable_count_out != nullptr) *durable_count_out = in.durable_count();
    return 0;
  });
}

hanse_status hanse_state_hash(hanse_kernel* kernel, uint8_t* hash_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    copy_digest(in.state_hash().all, &required(hash_out, "hash_out"));
    return 0;
  });
}

hanse_status hanse_verify(const char* directory, hanse_verification* verification_out) {
  return guard([&] {
    check_size(verification_out, "verification_out");
    const KernelVerification found = verify_directory(&required(directory, "directory"), 1, {});
    hanse_verification out{};
    out.balanced = found.balanced;
    out.record_count = found.journal.count;
    out.segment_count = found.journal.segment_count;
    out.journal_size_bytes = found.journal.size_bytes;
    out.extent_count = found.journal.extent_count;
    out.torn_bytes = found.journal.torn_bytes;
    copy_digest(found.journal.root, out.root);
    copy_digest(found.state.all, out.state_hash);
    write_struct(out, *verification_out);
    return 0;
  });
}

}  // extern "C"
