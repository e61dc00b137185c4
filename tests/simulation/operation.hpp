// What a schedule is made of, drawn from a seed; put to a model and to a kernel alike.
#pragma once

#include <memory>

#include "base/random.hpp"
#include "simulation/model.hpp"

namespace hanse::simulation {

#define HANSE_VERBS(X) \
  X(add)               \
  X(revoke)            \
  X(create_space)      \
  X(publish)           \
  X(withdraw)          \
  X(match)             \
  X(load_policy)       \
  X(fund)              \
  X(set_rate)          \
  X(open_account)      \
  X(set_budget)        \
  X(transfer)          \
  X(settle)            \
  X(dispatch)          \
  X(dispatch_many)     \
  X(dispatch_begin)    \
  X(storm)             \
  X(complete)          \
  X(complete_many)     \
  X(judge)             \
  X(judge_many)        \
  X(escalate)          \
  X(escalate_many)     \
  X(tick)              \
  X(declare)           \
  X(send_note)         \
  X(send_notes)        \
  X(commit_box)        \
  X(give_back)         \
  X(drain)             \
  X(send)              \
  X(govern)            \
  X(repeal)            \
  X(trust)             \
  X(set_role)          \
  X(set_terms)         \
  X(rate)              \
  X(steer)             \
  X(narrow)            \
  X(move)              \
  X(identify)          \
  X(admit)             \
  X(start)             \
  X(return_task)       \
  X(declare_unknown)   \
  X(verify)            \
  X(cancel)            \
  X(answer)            \
  X(set_attention)     \
  X(snapshot)          \
  X(compact)           \
  X(ask)               \
  X(flush)             \
  X(reopen)

enum class Verb : uint8_t {
#define X(name) name,
  HANSE_VERBS(X)
#undef X
      count_
};
constexpr size_t verb_count = size_t(Verb::count_);
constexpr bool is_rule(Verb verb) {
  return verb >= Verb::govern && verb <= Verb::admit && verb != Verb::rate;
}
constexpr bool is_work(Verb verb) {
  return verb == Verb::rate || (verb >= Verb::start && verb <= Verb::set_attention);
}
const char* verb_name(Verb verb);

struct Operation {
  Verb verb = Verb::tick;
  uint64_t now_ns = 0;            // the clock before it
  uint64_t stop_at = UINT64_MAX;  // only its records up to this count are in the journal
  uint32_t actor = 0, agent = 0, other = index_none;
  uint64_t amount = 0, number = 0;
  UnitId unit = 0;
  uint8_t small = 0;  // a tier, flags, a verdict
  bool atomic = false, wait = true;
  Offering offer{};
  DurableOptions box{};
  std::vector<Order> orders{};
  std::vector<Transfer> transfers{};
  std::vector<Note> notes{};
  std::vector<uint64_t> numbers{};
  std::optional<std::string> state{};
};

std::string show(const Operation& operation);

constexpr uint32_t agents_max = 40;  // a world of more has offers too close to tell apart

// How often each verb is drawn, and what of; each schedule has its own.
struct Swarm {
  std::array<uint32_t, verb_count> weights{};
  uint64_t operations = 2000;
  uint32_t fee_basis_points = 0, batch_max = 4, payload_max = 64, key_count = 40;
  uint64_t segment_size = 1 << 16, step_ns_max = 1'000'000;
  uint32_t policy_chance = 0;  // of 1000: another policy
  Durability durability = Durability::each;
  // Without it: what schedules drew before there were governance, roles, people and snapshots, so
  // that seeds which found something then still say the same.
  bool extended = true;
  uint32_t fault_gap = 150;  // operations between faults, about
  std::array<uint32_t, 8> fault_weights{};
  static Swarm draw(uint64_t seed, uint64_t operations, bool extended = true);
};

class Chooser {
 public:
  Chooser(uint64_t seed, const Swarm& swarm) : random_(seed), swarm_(swarm) {}

  std::vector<Operation> world();  // who is there, and what they own, at first
  Operation next(const Model& model, uint64_t now_ns, bool single_records);

 private:
  uint32_t any_agent(const Model& model) { return uint32_t(random_.below(model.agents.size())); }
  uint32_t live_agent(const Model& model);
  uint32_t actor_for(const Model& model, uint32_t agent);
  Order order(const Model& model, uint64_t now_ns);
  Transfer transfer(const Model& model, uint32_t actor, uint64_t now_ns);
  Transfer ending(const Model& model);
  Note note(const Model& model);
  std::vector<uint64_t> letters(const Model& model, uint32_t agent);
  std::string payload();
  std::string key(const char* prefix);
  uint64_t some_task(const Model& model, std::initializer_list<TaskState> wanted);
  void fill_task(const Model& model, Operation& op);
  void fill_money(const Model& model, Operation& op);
  void fill_box(const Model& model, Operation& op);
  void fill_people(const Model& model, Operation& op);
  void fill_work(const Model& model, Operation& op);
  void fill_rules(const Model& model, Operation& op);
  void add_terms(const Model& model, Order& order, uint64_t now_ns);
  UnitId unit() { return UnitId(random_.below(drawn_units)); }

  Random random_;
  Swarm swarm_;
  uint32_t artifacts_ = 0;
};

// What the model says to an operation, having done it.
Answer answer_of(Model& model, const Operation& operation);

// The same, where the model may be stopped on the way.
void answer_until_stopped(Model& model, const Operation& operation);

// The last number of its answer is the position of a record, and it waits for that.
bool answers_position(const Operation& operation);

// Puts operations to a kernel. Storage errors and crashes pass through.
class Performer {
 public:
  explicit Performer(Kernel& kernel) : kernel_(kernel) {}
  Answer perform(const Operation& operation);
  HandedOut drain();

 private:
  Answer people(const Operation& op);
  Answer rules(const Operation& op);
  Answer delegation(const Operation& op);
  Answer work(const Operation& op);
  Answer answer(const Operation& op);
  Answer money(const Operation& op);
  Answer tasks(const Operation& op);
  Answer many(const Operation& op);
  Answer boxes(const Operation& op);
  Answer match(const Operation& op);
  Answer send(const Operation& op);
  Answer ask(const Operation& op);
  Answer dispatch(const Operation& op);
  Kernel& kernel_;
};

constexpr uint64_t start_ns = 1'700'000'000'000'000'000;
inline AgentId agent_id(uint32_t agent) {
  return agent == index_none ? id_none : make_id(agent, 1);
}
Digest artifact_of(uint32_t number);
std::string role_name(uint8_t role);
std::vector<float> direction(double angle);
Bytes bytes_of(const std::string& text);
std::string unit_text(UnitId unit);

}  // namespace hanse::simulation
