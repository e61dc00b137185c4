// CAF: an event-based actor for each agent. SHAPE AGENTS COUNT -> one number, as the package says.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <caf/all.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <future>
#include <random>
#include <vector>

using Token = std::array<uint64_t, 8>;  // 64 bytes
using Clock = std::chrono::steady_clock;

struct State {
  std::vector<caf::actor> agents;
  std::vector<uint32_t> targets;
  std::atomic<uint64_t> handled{0};
  uint64_t wanted = 0;
  std::promise<void> done;
  bool forwards = false;
};

caf::behavior agent(caf::event_based_actor* self, State* state, uint32_t number) {
  return {[=](const Token& token) {
    const uint64_t handled = ++state->handled;
    if (handled == state->wanted) state->done.set_value();
    if (state->forwards && handled < state->wanted)
      self->send(state->agents[state->targets[(handled + number) % state->targets.size()]], token);
  }};
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

size_t resident_bytes() {
  size_t total = 0, resident = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (fscanf(file, "%zu %zu", &total, &resident) != 2) resident = 0;
  fclose(file);
  return resident * size_t(sysconf(_SC_PAGE_SIZE));
}

void start(caf::actor_system& system, State& state, uint32_t agents) {
  std::mt19937 random(7);
  for (uint32_t i = 0; i < 65536; ++i) state.targets.push_back(random() % agents);
  for (uint32_t i = 0; i < agents; ++i) state.agents.push_back(system.spawn(agent, &state, i));
}

double storm(caf::actor_system& system, State& state, uint32_t agents, uint64_t count) {
  state.forwards = true;
  state.wanted = count;
  start(system, state, agents);
  const auto began = Clock::now();
  for (uint32_t i = 0; i < std::min(agents, 10000u); ++i)
    caf::anon_send(state.agents[i], Token{});
  state.done.get_future().wait();
  return double(count) / seconds_since(began);
}

double slow(caf::actor_system& system, State& state, uint32_t agents, uint64_t count) {
  state.wanted = count - (count + agents - 1) / agents;
  start(system, state, agents);
  // Its box grows without a bound, which CAF's boxes do.
  const caf::actor slow = system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    self->set_default_handler(caf::skip);
    return {[](bool) {}};
  });
  const auto began = Clock::now();
  for (uint64_t i = 0; i < count; ++i)
    caf::anon_send(i % agents == 0 ? slow : state.agents[i % agents], Token{});
  state.done.get_future().wait();
  return double(state.wanted) / seconds_since(began);
}

double pingpong(caf::actor_system& system, uint64_t count) {
  std::promise<double> median;
  const caf::actor server =
      system.spawn([]() -> caf::behavior { return {[](const Token& token) { return token; }}; });
  system.spawn([&](caf::event_based_actor* self) -> caf::behavior {
    auto taken = std::make_shared<std::vector<double>>();
    auto began = std::make_shared<Clock::time_point>(Clock::now());
    self->send(server, Token{});
    return {[=, &median](const Token& token) {
      taken->push_back(seconds_since(*began) * 1e6);
      if (taken->size() == count) {
        std::nth_element(taken->begin(), taken->begin() + long(count / 2), taken->end());
        median.set_value((*taken)[count / 2]);
        self->quit();
        return;
      }
      *began = Clock::now();
      self->send(server, token);
    }};
  });
  return median.get_future().get();
}

double idle(caf::actor_system& system, State& state, uint32_t agents) {
  const size_t before = resident_bytes();
  start(system, state, agents);
  return double(resident_bytes() - before) / agents;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto agents = uint32_t(atol(argv[2]));
  const auto count = uint64_t(atol(argv[3]));
  caf::actor_system_config config;
  caf::actor_system system(config);
  static State state;  // outlives the actors: the process ends without stopping them one by one
  double figure = 0;
  if (!strcmp(argv[1], "storm")) figure = storm(system, state, agents, count);
  if (!strcmp(argv[1], "slow")) figure = slow(system, state, agents, count);
  if (!strcmp(argv[1], "pingpong")) figure = pingpong(system, count);
  if (!strcmp(argv[1], "idle")) figure = idle(system, state, agents);
  printf("%.10g\n", figure);
  fflush(stdout);
  _exit(0);
}
