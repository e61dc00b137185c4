// What the kernel promises, written a second time: plain maps and signed sums, no code of the core.
//
// A model does what a command says and tells what it must answer. Its `commit` stands where a
// record ends, so a model can be stopped at any count of records: a kernel that comes back with
// `count` records is compared with the world as it was then.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "kernel/kernel.hpp"

namespace hanse::simulation {

using Wide = __int128;

constexpr uint32_t unit_count = 3;   // the last is people's attention
constexpr uint32_t drawn_units = 2;  // that money moves in
constexpr UnitId attention_in = 2;
constexpr uint32_t policy_count = 4;
constexpr uint32_t escrow_party = UINT32_MAX - 1;  // the counter-account of what tasks reserve
extern const std::array<const char*, policy_count> policy_texts;
extern const char* const policy_schema;

// Events of governance that are drawn; what is not a lesson is refused in its own way.
enum class LessonText : uint8_t { none, dear_work, large_transfers, grants, two, lockout, count_ };
extern const std::array<const char*, size_t(LessonText::count_)> lesson_texts;
constexpr const char* approval_rule = "four eyes";
constexpr uint8_t hops_max = 8, trusted_label = 255;
constexpr uint16_t attempts_max = 16;
constexpr uint64_t one_day_ns = 86'400'000'000'000;

struct Refused {
  ErrorCode code;
};
struct StoppedAtCount {};

// Of one among many: its refusal is an outcome.
Outcome outcome_of_refusal(ErrorCode code);

// What a command answers: an error's code, or numbers.
struct Answer {
  int32_t error = 0;
  std::vector<uint64_t> values;
  bool operator==(const Answer&) const = default;
};

struct Party {
  uint32_t parent = index_none;
  AgentKind kind = AgentKind::agent;
  bool revoked = false, paused = false;
  uint64_t permissions = UINT64_MAX, budget_max = UINT64_MAX;
  uint32_t identity = 0;  // which, from 1; 0: none
  bool key_revoked = false;
  uint8_t hops = trusted_label;
  bool source = false;  // of untrusted words
  bool daily = false;   // attention: how much, and of which day the last was
  uint64_t per_day = 0, day = 0;
};

struct StandingLesson {
  uint64_t event = 0;
  LessonText text = LessonText::none;
  bool repealed = false;
};

struct Purse {
  bool there = false, credits_limited = false, debits_limited = true, closed = false;
  Wide in = 0, in_pending = 0, out = 0, out_pending = 0;
  uint64_t remainder = 0;
  bool operator==(const Purse&) const = default;
};

struct Promise {
  uint32_t from = 0, to = 0;
  UnitId unit = 0;
  uint64_t amount = 0, left = 0, expires_ns = 0;
  uint16_t code = 0;
  uint32_t arbiter = index_none;
  uint8_t post_by = 0, void_by = 0, flags = 0;
  HoldState state = HoldState::open;
};

struct Ceiling {
  Wide limit = 0, used = 0, pending = 0;
};

struct Offering {
  uint32_t angle = 0;
  int64_t price = 0;
  uint8_t tier = 0;
  uint16_t slots = 0;
  uint32_t version = 0, open = 0;
  bool found = false;
  bool full() const { return slots != 0 && open >= slots; }
};

// A request to dispatch, as the simulator draws it.
struct Order {
  uint32_t to = index_none;  // an agent, or by match:
  uint32_t angle = 0;
  uint64_t budget = 0, deadline_ns = 0;
  UnitId unit = 0;
  std::string key, payload;
  bool verified = false;
  // What few ask for; 0, index_none, no_task: not.
  uint8_t role = 0, verifier_role = 0;
  uint32_t verifier = index_none, approver = index_none;
  uint64_t lease_ns = 0, parent = no_task;
  bool approval = false;
  static constexpr uint64_t no_task = UINT64_MAX;
  bool plain() const {
    return role == 0 && verifier_role == 0 && verifier == index_none && lease_ns == 0 &&
           parent == no_task && !approval;
  }
  bool operator==(const Order&) const = default;
};

struct Job {
  uint32_t requester = 0, worker = 0;
  uint64_t budget = 0, price = 0, spent = 0, hold = 0, deadline_ns = 0;
  uint32_t version = 0;
  uint8_t tier = 0;
  UnitId unit = 0;
  TaskState state = TaskState::dispatched;
  uint16_t attempt = 1;
  uint64_t dispatched_at = 0, changed_at = 0;
  uint32_t artifact = 0;
  bool verified = false;
  std::string payload;
  Order more{};
  uint64_t lease_until = 0, answer_by = 0;
  uint32_t depth = 0;
  std::vector<uint64_t> children;
  bool judged = false, self_dealt = false, rated = false;
  uint16_t delivered = 0;  // the attempt handed out last, by this process
  bool settled() const { return is_settled(state); }
};

struct Letter {
  uint64_t sequence = 0;
  uint32_t sender = 0;
  std::string payload;
  uint64_t position = 0;  // of the record that sent or returned it
  uint16_t attempt = 1;
  bool handed = false;
};

struct Grave {
  uint64_t sequence = 0;
  uint32_t sender = 0;
  uint16_t attempt = 1;
  Outcome reason = Outcome::invalid;
};

struct Box {
  DurableOptions options;
  uint64_t accepted = 0, acknowledged = 0, dead_count = 0;
  std::vector<Letter> queue;
  std::vector<Grave> dead;  // the newest 64
};

// A durable message, as the simulator draws it.
struct Note {
  uint32_t to = 0;
  std::string payload, key;
};

struct Given {  // out of a drain
  uint32_t worker = 0;
  uint64_t number = 0;  // of the task, or of the letter in its box
  uint16_t attempt = 1;
  bool durable = false;
  auto operator<=>(const Given&) const = default;
};

// Everything that a kernel hands out at once; the order of receivers is its own affair.
struct HandedOut {
  std::vector<Given> given;                           // sorted
  std::map<uint32_t, std::vector<std::string>> mail;  // volatile messages, by receiver, in order
  bool operator==(const HandedOut&) const = default;
};

class Model {
 public:
  Model(uint64_t now_ns, uint32_t fee_basis_points);

  uint64_t now, last_ns = 0, count = 0, stop_at = UINT64_MAX;
  uint32_t fee_basis_points;
  std::vector<Party> agents;
  std::vector<std::array<Purse, unit_count>> purses;  // by agent
  std::array<Purse, unit_count> fees, usage, escrow, issuance;
  std::vector<Promise> promises;
  std::map<std::pair<uint32_t, UnitId>, Ceiling> ceilings;
  std::vector<Offering> offers;  // by agent; version 0: never
  std::array<std::array<uint64_t, 256>, unit_count> rates{};
  std::vector<Job> jobs;
  std::set<uint32_t> accepted_artifacts;
  uint32_t spaces = 0, policy = 0;
  uint64_t epoch = 0;
  std::map<uint32_t, Box> boxes;
  std::map<uint32_t, std::string> states;
  std::map<uint32_t, std::vector<std::string>> mail;  // not in the journal
  std::vector<StandingLesson> lessons;
  uint64_t governed = 0;
  std::map<uint8_t, uint64_t> roles;  // their permissions

  // --- agents, offers, rules
  Answer add(uint32_t actor, uint32_t parent, uint32_t added, AgentKind kind);
  Answer revoke(uint32_t actor, uint32_t agent);
  Answer create_space();
  Answer publish(uint32_t agent, const Offering& offer);
  Answer withdraw(uint32_t agent);
  Answer load_policy(uint32_t number);
  Answer govern(uint32_t actor, LessonText text, uint64_t cause);
  Answer repeal(uint32_t actor, uint64_t event);
  Answer trust(uint32_t actor, uint32_t agent, bool trusted);
  Answer set_role(uint32_t actor, uint8_t role, uint64_t permissions);
  Answer set_terms(uint32_t actor);
  Answer steer(uint32_t actor, uint32_t agent, bool paused);
  Answer narrow(uint32_t actor, uint32_t agent, uint64_t permissions, uint64_t budget_max);
  Answer move(uint32_t actor, uint32_t agent, uint32_t parent);
  Answer identify(uint32_t actor, uint32_t agent, uint8_t step);
  Answer admit(uint32_t actor, uint32_t identity);
  // --- people
  Answer set_attention(uint32_t actor, uint32_t human, uint64_t per_day);
  Answer answer(uint32_t human, bool allow, bool stale);
  bool may_approve(uint32_t human, const Job& job) const;
  std::vector<uint32_t> feasible(uint32_t not_this, uint32_t angle, int64_t price_max) const;
  // --- money
  Answer fund(uint32_t agent, uint64_t amount, UnitId unit);
  Answer set_rate(UnitId unit, uint8_t tier, uint64_t fresh);
  Answer open_account(uint32_t agent, UnitId unit, uint8_t flags);
  Answer set_budget(uint32_t actor, uint32_t agent, UnitId unit, uint64_t limit);
  Answer transfer(uint32_t actor, const std::vector<Transfer>& batch, bool atomic);
  Answer settle(uint32_t actor, uint64_t hold, Settlement verdict, uint64_t amount);
  // --- tasks
  Answer dispatch(uint32_t actor, const Order& order);
  Answer dispatch_many(uint32_t actor, const std::vector<Order>& orders, bool atomic,
                       bool single = false);
  Answer complete(uint32_t actor, uint64_t task, uint32_t artifact, uint64_t fresh);
  Answer judge(uint32_t actor, uint64_t task, Verdict verdict, uint32_t verifier);
  Answer escalate(uint32_t actor, uint64_t task, uint32_t to, uint32_t angle);
  Answer start(uint32_t actor, uint64_t task);
  Answer return_task(uint32_t actor, uint64_t task);
  Answer declare_unknown(uint32_t actor, uint64_t task);
  Answer verify(uint32_t actor, uint64_t task, bool good);
  Answer cancel(uint32_t actor, uint64_t task);
  Answer rate(uint32_t actor, uint64_t task);
  // --- durable boxes
  Answer declare(uint32_t actor, uint32_t agent, const DurableOptions& options);
  Answer send_notes(uint32_t sender, const std::vector<Note>& notes);
  Answer commit_box(uint32_t agent, const std::vector<uint64_t>& acknowledged,
                    const std::vector<Note>& notes, const std::optional<std::string>& state);
  Answer give_back(uint32_t agent, const std::vector<uint64_t>& sequences);
  // --- time, opening, handing out
  uint64_t expire();
  void reopen();  // another process: what was handed out is forgotten, and goes out again
  Answer send(uint32_t sender, uint32_t to, std::string text);
  // Only what records below `durable` sent.
  HandedOut drain(uint64_t durable);

  bool live(uint32_t agent) const;
  bool revoked(uint32_t agent) const;  // it, or one above it
  bool labelled(uint32_t agent) const { return agents[agent].hops != trusted_label; }
  bool holds_role(uint32_t agent, uint8_t role) const;
  bool within(uint32_t agent, uint32_t ancestor) const;
  uint32_t tenant(uint32_t agent) const;
  bool same_view(uint32_t actor, uint32_t other) const;
  Wide available(uint32_t agent, UnitId unit) const;

 private:
  struct UsedUp {
    Order order;
    Outcome outcome = Outcome::ok;
    uint64_t position = 0, task = 0;
    uint32_t worker = 0, version = 0;
    uint64_t price = 0, reserved = 0;
  };
  struct MovedOnce {
    Transfer transfer;
    Moved moved;
  };
  struct Sent {
    uint32_t to = 0;
    std::string payload;
    uint64_t sequence = 0, position = 0;
  };
  struct Rate {
    uint64_t second = 0, recorded = 0, counted = 0;
  };
  struct Pick {
    Outcome outcome = Outcome::no_match;
    bool retry = false, dearer = false;
    uint32_t worker = 0, version = 0;
    uint8_t tier = 0;
    uint64_t price = 0;
  };
  struct Look {  // candidates, found before any of the batch was placed
    std::vector<uint32_t> agents;
    std::vector<uint32_t> versions;
    bool complete = true;
  };
  struct Tentative {
    Wide reserved = 0;
    std::map<uint32_t, uint32_t> slots;
    std::set<std::string> keys;
  };
  struct Placed {
    Outcome outcome = Outcome::ok;
    uint64_t task = 0;
    uint32_t worker = 0, version = 0;
    uint64_t price = 0, reserved = 0, position = position_none;
    bool done = false;
  };

  uint64_t commit();  // the position of the record that ends here
  uint32_t acting(uint32_t actor) const;
  uint32_t require_within(uint32_t actor, uint32_t target) const;

  Outcome consider(const Order& order, uint32_t worker, uint32_t version, uint64_t budget,
                   const Tentative* tentative, Pick& pick) const;
  Pick choose(const Order& order, const Look& look, uint64_t budget, bool last,
              const Tentative* tentative) const;
  Look look(uint32_t actor, const Order& order, uint64_t budget, uint32_t round) const;
  Outcome check_money(uint32_t actor, const Order& order, Wide already, bool& recorded) const;
  bool replayed(uint32_t actor, const Order& order, Placed& placed) const;
  bool records_refusal(uint32_t actor, bool always);
  [[noreturn]] void deny(uint32_t actor);  // an event, and nothing else
  bool busy(uint32_t actor, uint64_t budget) const;
  void reclaim(uint32_t actor, uint32_t target);
  void refuse(uint32_t actor, const Order& order, Outcome outcome, Placed& placed);
  void place_job(uint32_t actor, const Order& order, const Pick& pick, Placed& placed);
  bool place(uint32_t actor, const Order& order, const Look& look, bool last, Placed& placed);
  void check_more(uint32_t actor, const Order& order) const;
  bool label_ends(uint32_t from, uint32_t to) const;
  bool label_flow(uint32_t from, uint32_t to);  // false: its words end here
  void check_verifier(uint32_t by, const Job& job) const;
  void return_jobs(const std::vector<size_t>& tasks);
  void deliver_below(uint32_t agent);
  void note_verdict(Job& job);
  void open_tree(uint64_t task, std::vector<uint64_t>& tasks) const;
  uint32_t controller(uint32_t agent) const;
  uint32_t depth(uint32_t agent) const;
  uint32_t deepest_below(uint32_t agent) const;
  void bring_attention(uint32_t human, uint64_t amount);
  void place_atomic(uint32_t actor, const std::vector<Order>& orders, std::vector<Placed>& placed);
  Job& job_for(uint32_t actor, uint64_t task, bool as_worker);
  void end_job(Job& job, TaskState state, HoldState hold);
  void release(Job& job);
  bool permits(Action action, uint64_t price, uint64_t amount, bool verified) const;

  std::vector<uint32_t> levels(uint32_t from, uint32_t to, UnitId unit) const;
  void count_budget(uint32_t from, uint32_t to, UnitId unit, Wide Ceiling::* what, Wide amount);
  TransferOutcome room(uint32_t from, uint32_t to, UnitId unit, uint32_t payee, Wide amount) const;
  Purse& purse_of(uint32_t party, UnitId unit);
  uint64_t hold_money(uint32_t from, uint32_t to, UnitId unit, uint64_t amount);
  void draw(uint64_t hold, uint64_t amount, Purse& to, uint32_t to_agent);
  void resolve(uint64_t hold, HoldState state);
  void post(uint64_t hold, uint64_t amount);
  bool may_end(uint32_t actor, const Promise& promise, bool post) const;
  bool sees(uint32_t actor, const Promise& promise) const;
  void require_right(uint32_t actor, uint64_t hold, bool post) const;
  TransferOutcome judge_end(uint32_t actor, const Transfer& t, Moved& moved) const;
  Moved judge_transfer(uint32_t actor, const Transfer& t) const;
  void do_transfer(uint32_t actor, const Transfer& t, Moved& moved);
  void run_chain(uint32_t actor, const std::vector<Transfer>& batch, size_t first, size_t end,
                 std::vector<Moved>& moved);

  Outcome judge_note(uint32_t sender, const Note& note, const std::vector<Note>& taken,
                     const Sent** before);
  std::vector<uint64_t> put(uint32_t sender, const std::vector<Note>& taken);
  std::vector<size_t> waiting(uint32_t agent, const std::vector<uint64_t>& sequences) const;
  void bury(Box& box, size_t at, Outcome reason);
  void again(Box& box, uint64_t sequence);
  void reopen_boxes();

  std::map<std::pair<uint32_t, std::string>, UsedUp> keys_;
  std::map<std::pair<uint32_t, uint64_t>, MovedOnce> transfer_keys_;
  std::map<std::pair<uint32_t, std::string>, Sent> note_keys_;
  std::map<uint32_t, Rate> refusal_rates_;
  struct Way {
    uint64_t task = 0;
    uint16_t attempt = 1;
    uint64_t position = 0;
  };
  std::vector<Way> deliveries_;
};

}  // namespace hanse::simulation
