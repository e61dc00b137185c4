// hanse in a C++ program: as consumer.c, with owners for what must be given back.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hanse.h"

namespace {

constexpr uint32_t agent_count = 1000, dim = 8;

struct Closer {
  void operator()(hanse_kernel* kernel) const { hanse_close(kernel); }
};
using Owner = std::unique_ptr<hanse_kernel, Closer>;

void check(hanse_status status) {
  if (status < 0) throw std::runtime_error(hanse_error_text());
  if (status > 0) throw std::runtime_error(hanse_outcome_name(status));
}

void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(std::string(what) + " does not hold");
}

template <class T>
T sized() {
  T value{};
  value.size_bytes = sizeof(T);
  return value;
}

Owner open(const char* directory) {
  hanse_kernel* kernel = nullptr;
  check(hanse_open(directory, nullptr, &kernel));
  return Owner(kernel);
}

std::vector<hanse_id> add(hanse_kernel* kernel, uint32_t count) {
  std::vector<hanse_id> ids(count);
  const auto members = sized<hanse_agents>();
  check(hanse_agents_add(kernel, HANSE_ID_NONE, &members, count, ids.data()));
  return ids;
}

std::vector<float> vectors_of(uint32_t first, uint32_t count) {
  std::vector<float> vectors;
  for (uint32_t i = first; i < first + count; ++i)
    for (uint32_t d = 0; d < dim; ++d) vectors.push_back(float(std::sin(i + 1 + 10.0 * d)));
  return vectors;
}

void publish(hanse_kernel* kernel, const std::vector<hanse_id>& agents) {
  const std::vector<float> vectors = vectors_of(0, agent_count);
  const std::vector<int64_t> prices(agent_count, 1);
  auto offers = sized<hanse_offers>();
  offers.count = agent_count;
  offers.dim = dim;
  offers.agents = agents.data();
  offers.vectors = vectors.data();
  offers.prices = prices.data();
  check(hanse_publish(kernel, HANSE_ID_NONE, &offers, nullptr));
}

void match(hanse_kernel* kernel, const std::vector<hanse_id>& agents, const float* query) {
  auto request = sized<hanse_match_request>();
  request.k = 3;
  request.queries = query;
  request.query_count = 1;
  request.dim = dim;
  hanse_found found[3];
  int32_t count = 0;
  check(hanse_match(kernel, HANSE_ID_NONE, &request, found, &count));
  require(count == 3 && found[0].agent == agents[5], "the best match");
}

void talk(hanse_kernel* kernel, const std::vector<hanse_id>& agents) {
  char buffer[64];
  auto delivery = sized<hanse_delivery>();
  check(hanse_send(kernel, agents[0], agents[1], "hello", 5));
  check(hanse_receive(kernel, agents[1], &delivery, buffer, sizeof(buffer)));
  require(std::string_view(buffer, delivery.payload_size) == "hello", "the message");
}

void begin(const char* directory) {
  const Owner kernel = open(directory);
  const std::vector<hanse_id> agents = add(kernel.get(), agent_count);
  const std::vector<float> query = vectors_of(5, 1);
  publish(kernel.get(), agents);
  match(kernel.get(), agents, query.data());
  talk(kernel.get(), agents);
  check(hanse_fund(kernel.get(), HANSE_ID_NONE, agents[0], 1000, nullptr, nullptr));
  auto request = sized<hanse_dispatch_request>();
  request.dim = dim;
  request.query = query.data();
  request.payload = "what to do";
  request.payload_size = 10;
  request.budget = 100;
  request.key = "key-1";
  request.key_size = 5;
  auto receipt = sized<hanse_receipt>();
  check(hanse_dispatch(kernel.get(), agents[0], &request, &receipt));
  require(receipt.agent == agents[5] && receipt.held == 100, "the receipt");
  std::printf("task %llu\n", static_cast<unsigned long long>(receipt.task));
  std::fflush(stdout);
  for (;;) pause();
}

void resume(const char* directory, hanse_id task) {
  {
    const Owner kernel = open(directory);
    auto state = sized<hanse_task>();
    check(hanse_task_state(kernel.get(), HANSE_ID_NONE, task, &state));
    require(state.state == hanse_task_dispatched && state.budget == 100, "the task");
    char buffer[64];
    auto delivery = sized<hanse_delivery>();
    check(hanse_receive(kernel.get(), state.worker, &delivery, buffer, sizeof(buffer)));
    require(delivery.task == task && delivery.payload_size == 10, "the delivery");
    uint64_t available = 0;
    check(hanse_balance(kernel.get(), HANSE_ID_NONE, state.requester, nullptr, &available));
    require(available == 900, "the balance");
  }
  auto found = sized<hanse_verification>();
  check(hanse_verify(directory, &found));
  require(found.balanced == 1 && found.record_count > 4, "the evidence");
  std::puts("ok");
}

}  // namespace

int main(int count, char** words) {
  try {
    const std::string_view command = count > 1 ? words[1] : "";
    if (command == "begin" && count == 3)
      begin(words[2]);
    else if (command == "resume" && count == 4)
      resume(words[2], std::strtoull(words[3], nullptr, 10));
    else
      throw std::runtime_error("begin DIR or resume DIR TASK");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
