// The structs of the C ABI, filled with anything: sizes, flags, counts within their arrays, texts,
// and ids that may be real. Every call answers with a status, and the books stay balanced.
#include <cmath>

#include "c/hanse.h"
#include "fuzz.hpp"

using namespace hanse;

namespace {

hanse_id any_id(fuzz::Input& input) {
  const auto what = input.take<uint8_t>();
  if (what % 16 == 15) return input.take<uint64_t>();
  return what % 16 == 14 ? HANSE_ID_NONE : uint64_t(1) << 32 | what % 14;
}

uint32_t size_of(fuzz::Input& input, size_t right) {
  const auto what = input.take<uint8_t>();
  return what % 8 == 0 ? what / 8u : uint32_t(right);  // never more than the struct has
}

void publish(hanse_kernel* kernel, fuzz::Input& input) {
  hanse_id agents[4];
  float vectors[16];
  int64_t prices[4];
  uint8_t tiers[4];
  uint16_t slots[4];
  for (auto& agent : agents) agent = any_id(input);
  for (auto& value : vectors) value = input.take<float>();
  for (auto& price : prices) price = input.take<int64_t>();
  for (auto& tier : tiers) tier = input.take<uint8_t>();
  for (auto& slot : slots) slot = input.take<uint16_t>();
  const std::string space = input.text(70);
  hanse_offers offers{};
  offers.size_bytes = size_of(input, sizeof offers);
  offers.offer = input.take<uint8_t>();
  offers.space = space.c_str();
  offers.count = input.take<uint8_t>() % 5;
  offers.dim = input.take<uint8_t>() % 5;
  offers.agents = agents, offers.vectors = vectors, offers.prices = prices;
  offers.tiers = tiers, offers.slots = slots;
  uint32_t versions[4];
  hanse_publish(kernel, any_id(input), &offers, versions);
}

void dispatch(hanse_kernel* kernel, fuzz::Input& input) {
  float query[4];
  for (auto& value : query) value = input.take<float>();
  const std::string space = input.text(70), task_class = input.text(80), payload = input.text(200),
                    key = input.text(80), unit = input.text(40);
  hanse_feasible feasible{};
  feasible.size_bytes = size_of(input, sizeof feasible);
  feasible.price_limited = input.take<uint8_t>();
  feasible.price_max = input.take<int64_t>();
  feasible.region_limited = input.take<uint8_t>();
  feasible.tenant = any_id(input);
  hanse_dispatch_request request{};
  request.size_bytes = size_of(input, sizeof request);
  request.dim = input.take<uint8_t>() % 5;
  request.to = any_id(input);
  request.query = input.take<uint8_t>() % 2 ? query : nullptr;
  request.space = space.c_str();
  request.feasible = input.take<uint8_t>() % 2 ? &feasible : nullptr;
  request.task_class = task_class.c_str();
  request.payload = payload.data(), request.payload_size = payload.size();
  request.key = key.data(), request.key_size = key.size();
  request.budget = input.take<uint16_t>();
  request.unit = input.take<uint8_t>() % 2 ? unit.c_str() : nullptr;
  request.deadline_ns = input.take<uint64_t>();
  request.verifier_required = input.take<uint8_t>() % 3;
  hanse_receipt receipt{};
  receipt.size_bytes = size_of(input, sizeof receipt);
  hanse_dispatch(kernel, any_id(input), &request, &receipt);
}

void finish(hanse_kernel* kernel, fuzz::Input& input) {
  hanse_completion completion{};
  completion.size_bytes = size_of(input, sizeof completion);
  completion.total_given = input.take<uint8_t>() % 3;
  completion.task = any_id(input);
  completion.artifact[0] = input.take<uint8_t>();
  completion.fresh = input.take<uint64_t>();
  completion.output = input.take<uint64_t>();
  completion.total_tokens = input.take<uint64_t>();
  hanse_complete(kernel, any_id(input), &completion, nullptr);
  hanse_accept(kernel, any_id(input), completion.task, any_id(input), nullptr);
  hanse_reject(kernel, any_id(input), completion.task, any_id(input), nullptr);
  hanse_task task{};
  task.size_bytes = size_of(input, sizeof task);
  hanse_task_state(kernel, any_id(input), completion.task, &task);
}

void agents(hanse_kernel* kernel, fuzz::Input& input) {
  const std::string one = input.text(255), two = input.text(20);
  const char* names[2] = {one.c_str(), two.c_str()};
  hanse_agents added{};
  added.size_bytes = size_of(input, sizeof added);
  added.kind = input.take<uint8_t>() % 6;
  added.parent = any_id(input);
  added.names = input.take<uint8_t>() % 2 ? names : nullptr;
  added.permissions = input.take<uint64_t>();
  added.budget_max = input.take<uint64_t>();
  added.narrowed = input.take<uint8_t>() % 3;
  added.zero = input.take<uint8_t>() % 16 == 0;
  hanse_id ids[2];
  hanse_agents_add(kernel, any_id(input), &added, input.take<uint8_t>() % 3, ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  hanse_kernel_options options{};
  options.size_bytes = size_of(input, sizeof options);
  options.seed = 1;
  options.fee_basis_points = input.take<uint8_t>();
  hanse_kernel* kernel = nullptr;
  if (hanse_open(nullptr, &options, &kernel) != 0) return 0;
  for (int steps = 0; steps < 40 && !input.empty(); ++steps) {
    switch (input.take<uint8_t>() % 8) {
      case 0:
        agents(kernel, input);
        break;
      case 1:
        publish(kernel, input);
        break;
      case 2:
      case 3:
        dispatch(kernel, input);
        break;
      case 4:
        finish(kernel, input);
        break;
      case 5: {
        const std::string text = input.text(200);
        hanse_load_policy(kernel, any_id(input), text.c_str(), nullptr);
        break;
      }
      case 6: {
        const std::string payload = input.text(200);
        const hanse_id from = any_id(input), to = any_id(input);
        hanse_send(kernel, from, to, payload.data(), payload.size());
        hanse_delivery delivery{};
        delivery.size_bytes = size_of(input, sizeof delivery);
        uint8_t buffer[64];
        hanse_receive(kernel, to, &delivery, buffer, input.take<uint8_t>() % 65);
        break;
      }
      default: {
        const std::string unit = input.text(40);
        hanse_fund(kernel, any_id(input), any_id(input), input.take<uint64_t>(), unit.c_str(),
                   nullptr);
      }
    }
  }
  uint8_t hash[32];
  fuzz::require(hanse_state_hash(kernel, hash) == 0);
  fuzz::require(hanse_close(kernel) == 0);
  return 0;
}
