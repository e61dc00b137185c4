// The records of what tasks and people do beyond dispatch and verdict: 70 to 79.
#pragma once

#include "kernel/policy_records.hpp"
#include "kernel/records.hpp"

namespace hanse {

// A dispatch that says more than format 1 could.
struct TaskedRecord {
  static constexpr RecordType type = RecordType::tasked;
  DispatchedRecord base;
  uint32_t parent = index_none;  // task
  uint64_t lease_ns = 0;
  uint32_t verifier = index_none;
  std::string verifier_role, role;
  std::string rule;  // that asks for approval; empty: none does
  uint32_t approver = index_none;
  uint64_t answer_by_ns = 0;
  Digest asked{};               // what is approved
  std::vector<RateLine> rates;  // that it takes from
  std::vector<ReadLine> reads;  // drawn from its reservation at once
  template <class F>
  void fields(F&& f) {
    base.fields(f);
    f("parent", parent), f("lease_ns", lease_ns), f("verifier", verifier);
    f("verifier_role", verifier_role), f("role", role), f("rule", rule), f("approver", approver);
    f("answer_by_ns", answer_by_ns), f("asked", asked), f("rates", rates), f("reads", reads);
  }
};

// The same of a task that waits for a person: what it reads is paid when that person allows it, and
// not at all otherwise. (Older journals hold such tasks as `tasked`, which paid at once.)
struct TaskedUnpaidRecord : TaskedRecord {
  static constexpr RecordType type = RecordType::tasked_unpaid;
};

struct TaskStartedRecord {
  static constexpr RecordType type = RecordType::task_started;
  uint32_t task = 0;
  uint64_t until_ns = 0;  // of the lease; 0: none
  template <class F>
  void fields(F&& f) {
    f("task", task), f("until_ns", until_ns);
  }
};

struct TaskReturnedRecord {
  static constexpr RecordType type = RecordType::task_returned;
  Outcome reason = Outcome::expired;  // expired: of the lease; undeliverable: its worker gave it up
  std::vector<uint32_t> tasks;
  template <class F>
  void fields(F&& f) {
    f("reason", reason), f("tasks", tasks);
  }
};

struct TaskVerifiedRecord {
  static constexpr RecordType type = RecordType::task_verified;
  uint32_t task = 0, verifier = 0;
  bool good = false;
  template <class F>
  void fields(F&& f) {
    f("task", task), f("verifier", verifier), f("good", good);
  }
};

struct TaskUnknownRecord {
  static constexpr RecordType type = RecordType::task_unknown;
  uint32_t task = 0;
  template <class F>
  void fields(F&& f) {
    f("task", task);
  }
};

struct CancelledRecord {
  static constexpr RecordType type = RecordType::cancelled;
  std::vector<uint32_t> tasks;  // the one that was named comes last
  template <class F>
  void fields(F&& f) {
    f("tasks", tasks);
  }
};

struct ApprovalAnsweredRecord {
  static constexpr RecordType type = RecordType::approval_answered;
  uint32_t human = 0;
  std::string rule, task_class;
  bool allow = false;
  uint64_t renewed = 0, attention = 0;  // units that a new day brought, and what the answer took
  std::vector<uint32_t> tasks;
  template <class F>
  void fields(F&& f) {
    f("human", human), f("rule", rule), f("task_class", task_class), f("allow", allow);
    f("renewed", renewed), f("attention", attention), f("tasks", tasks);
  }
};

struct AttentionSetRecord {
  static constexpr RecordType type = RecordType::attention_set;
  uint32_t human = 0;
  uint64_t per_day = 0, renewed = 0;
  template <class F>
  void fields(F&& f) {
    f("human", human), f("per_day", per_day), f("renewed", renewed);
  }
};

}  // namespace hanse
