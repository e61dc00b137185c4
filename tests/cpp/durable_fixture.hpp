// A kernel over a simulated disk with one durable box, for tests.
#pragma once

#include <gtest/gtest.h>

#include "journal/simulated_disk.hpp"
#include "kernel/kernel.hpp"

namespace hanse {

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

struct Post {
  std::shared_ptr<SimulatedDisk> disk = std::make_shared<SimulatedDisk>();
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(1'700'000'000'000'000'000);
  std::unique_ptr<Kernel> kernel;
  AgentId team, sender, box, other;

  explicit Post(DurableOptions options = {}) {
    open();
    team = add(id_none, "team", AgentKind::group);
    sender = add(team, "sender"), box = add(team, "box"), other = add(team, "other");
    kernel->declare_durable(kernel->root(), std::vector{box}, options);
  }
  void open(bool read_only = false) {
    KernelOptions options;
    options.disk = disk;
    options.clock = clock;
    options.background = false;
    options.read_only = read_only;
    options.segment_size_bytes_max = 1 << 16;
    kernel = Kernel::open(options);
  }
  void reopen() {
    kernel->close();
    open();
  }
  AgentId add(AgentId parent, const std::string& name, AgentKind kind = AgentKind::agent) {
    AgentsAdded added;
    added.parent = parent;
    added.kind = kind;
    added.names = {name};
    AgentId id;
    kernel->add_agents(kernel->root(), added, {&id, 1});
    return id;
  }
  DurableSent send(const std::string& payload, const std::string& key = "", AgentId to = id_none) {
    return kernel->send_durable(sender,
                                {to == id_none ? box : to, bytes_of(payload), bytes_of(key), {}});
  }
  DurableSent send(const std::string& payload, const DurableTerms& terms,
                   const std::string& key = "") {
    return kernel->send_durable(sender, {box, bytes_of(payload), bytes_of(key), terms});
  }
  std::vector<Delivery> drain(size_t count_max = 1000) {
    MessageBatch batch;
    std::vector<Delivery> deliveries;
    kernel->drain(batch, deliveries, count_max);
    return deliveries;
  }
  // The payloads of a drain.
  std::vector<std::string> taken(size_t count_max = 1000) {
    std::vector<std::string> texts;
    for (const Delivery& delivery : drain(count_max)) texts.push_back(text_of(delivery.payload));
    return texts;
  }
  Position acknowledge(std::vector<uint64_t> sequences) {
    return kernel->commit_durable(box, {sequences, {}, {}}, {});
  }
  DurableBoxInfo info(AgentId agent = id_none) {
    return kernel->durable_box(kernel->root(), agent == id_none ? box : agent);
  }
  void expect_conserved() {
    const DurableBoxInfo at = info();
    EXPECT_EQ(at.accepted, at.acknowledged + at.dead + at.queued);
  }
};

template <class Call>
ErrorCode code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "did not throw";
  return ErrorCode::invariant;
}

}  // namespace hanse
