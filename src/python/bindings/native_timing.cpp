// What messages cost where no Python is in between: timed here, since Python can't.
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "base/random.hpp"
#include "handle.hpp"
#include "mailbox/shards.hpp"

namespace hanse::python {

namespace {

using Nanoseconds = std::chrono::duration<double, std::nano>;

// Two agents whose native handlers send to each other.
struct Rally {
  uint64_t left = 0;
  static void play(void* context, MailboxTable& table, const Message& message) {
    auto& rally = *static_cast<Rally*>(context);
    if (rally.left == 0) return;
    --rally.left;
    MessageHeader header;
    header.to = message.sender;
    header.sender = message.to;
    table.send(header, message.payload);
  }
};

double native_round_trip_ns(uint32_t round_trips) {
  MailboxTable table({});
  table.resize(2);
  table.own();
  Rally rally;
  for (uint32_t i = 0; i < 2; ++i) table.set_native(make_id(i, 1), &Rally::play, &rally);
  MessageHeader header;
  header.to = make_id(0, 1);
  header.sender = make_id(1, 1);
  const std::array<uint8_t, message_inline_bytes> payload{};
  rally.left = 2 * uint64_t(round_trips) - 1;
  table.send(header, payload);
  const auto start = std::chrono::steady_clock::now();
  const size_t handled = table.run_native(SIZE_MAX, 0);
  const Nanoseconds taken = std::chrono::steady_clock::now() - start;
  if (handled != 2 * size_t(round_trips) || table.counters().queued != 0)
    throw Error(ErrorCode::invariant, "round trips", handled, 2 * size_t(round_trips));
  return taken.count() / round_trips;
}

// Agents that forward tokens to a random other one, half of them on each of two shards or all on
// one; each shard has a thread.
struct Storm {
  struct Side {
    Storm* storm;
    uint32_t shard;
    Random random;
  };
  Shards shards;
  const uint32_t agent_count;
  std::vector<std::unique_ptr<Side>> sides;
  std::atomic<bool> over{false};

  static ShardOptions options_of(uint32_t shard_count) {
    ShardOptions options;
    options.shard_count = shard_count;
    options.mailboxes.box_capacity_messages = 1u << 20;
    return options;
  }

  Storm(uint32_t agents, uint32_t shard_count)
      : shards(options_of(shard_count)), agent_count(agents) {
    std::vector<uint32_t> groups(agents);
    for (uint32_t i = 0; i < agents; ++i) groups[i] = i % shard_count;
    shards.resize(agents, groups);
    for (uint32_t shard = 0; shard < shard_count; ++shard) {
      shards.migrate(shard, shard);
      sides.push_back(std::make_unique<Side>(Side{this, shard, Random(shard + 1)}));
      Shards::Visit visit(shards, shard);
      for (uint32_t i = shard; i < agents; i += shard_count)
        visit.table.set_native(make_id(i, 1), &forward, sides.back().get());
    }
  }

  static void forward(void* context, MailboxTable&, const Message& message) {
    auto& side = *static_cast<Side*>(context);
    MessageHeader header;
    header.to = make_id(uint32_t(side.random.below(side.storm->agent_count)), 1);
    header.sender = message.to;
    side.storm->shards.send(side.shard, header, message.payload);
  }

  void put_in(uint32_t tokens) {
    Random random(99);
    const std::array<uint8_t, message_inline_bytes> payload{};
    for (uint32_t i = 0; i < tokens; ++i) {
      MessageHeader header;
      header.to = make_id(uint32_t(random.below(agent_count)), 1);
      if (shards.send_foreign(header, payload) != Outcome::ok)
        throw Error(ErrorCode::invariant, "tokens", "one was refused at the start");
    }
  }

  // Until one side has handled so many: then all tokens may be on the other.
  void turns(uint32_t shard, uint64_t messages) {
    const Shards::Visit visit(shards, shard);
    for (uint64_t handled = 0; handled < messages && !over.load(std::memory_order_relaxed);)
      handled += shards.turn(shard, nullptr, nullptr, 1);
    over.store(true, std::memory_order_relaxed);
  }
};

double native_storm_per_s(uint32_t agents, uint32_t tokens, uint64_t messages,
                          uint32_t shard_count) {
  Storm storm(agents, shard_count);
  storm.put_in(tokens);
  // What was sent before there was an owner is in the boxes before the clock starts.
  for (uint32_t shard = 0; shard < shard_count; ++shard) {
    storm.turns(shard, 1);
    storm.over.store(false);
  }
  const uint64_t before = storm.shards.counters().handled;
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (uint32_t shard = 1; shard < shard_count; ++shard)
    threads.emplace_back([&, shard] { storm.turns(shard, messages / shard_count); });
  storm.turns(0, messages / shard_count);
  for (std::thread& thread : threads) thread.join();
  const Nanoseconds taken = std::chrono::steady_clock::now() - start;
  const MailboxCounters counters = storm.shards.counters();
  if (counters.queued != tokens || counters.dead != 0)
    throw Error(ErrorCode::invariant, "tokens", counters.queued, tokens);
  return double(counters.handled - before) / taken.count() * 1e9;
}

}  // namespace

void register_native_timing(py::module_& module) {
  module.def("native_round_trip_ns", &native_round_trip_ns, py::arg("round_trips"),
             py::call_guard<py::gil_scoped_release>(),
             "native_round_trip_ns(round_trips) -> float\n\n"
             "Nanoseconds in which two agents with native handlers send 64 bytes to and fro.");
  module.def("native_storm_per_s", &native_storm_per_s, py::arg("agents"), py::arg("tokens"),
             py::arg("messages"), py::arg("shards"), py::call_guard<py::gil_scoped_release>(),
             "native_storm_per_s(agents, tokens, messages, shards) -> float\n\n"
             "Messages a second: agents with native handlers forward tokens of 64 bytes to random\n"
             "others, on so many shards with a thread each.");
}

}  // namespace hanse::python
