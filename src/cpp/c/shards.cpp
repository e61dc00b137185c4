// The shards of the mailboxes through the C face.
#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

extern "C" {

hanse_status hanse_shard_place(hanse_kernel* kernel, hanse_id actor, hanse_id group,
                               uint32_t shard) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    in.place(actor_of(in, actor), group, shard);
    return 0;
  });
}

hanse_status hanse_shard_of(hanse_kernel* kernel, hanse_id agent, uint32_t* shard_out) {
  return guard([&]() -> hanse_status {
    required(shard_out, "shard_out") = 0;
    *shard_out = open_kernel(kernel).shard_of(agent);
    return 0;
  });
}

hanse_status hanse_shard_run(hanse_kernel* kernel, uint32_t shard) {
  return guard([&]() -> hanse_status {
    open_kernel(kernel).run_shard(shard, nullptr, nullptr);
    return 0;
  });
}

hanse_status hanse_shard_turn(hanse_kernel* kernel, uint32_t shard, uint32_t* handled_out) {
  return guard([&]() -> hanse_status {
    const size_t handled = open_kernel(kernel).turn_shard(shard, nullptr, nullptr);
    if (handled_out != nullptr) *handled_out = uint32_t(handled);
    return 0;
  });
}

hanse_status hanse_shards_stop(hanse_kernel* kernel) {
  return guard([&]() -> hanse_status {
    open_kernel(kernel).stop_shards();
    return 0;
  });
}

}  // extern "C"
