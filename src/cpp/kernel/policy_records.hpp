// The records of policy and governance, numbers 50 to 59.
#pragma once

#include "kernel/records.hpp"
#include "policy/policy.hpp"

namespace hanse {

// A command that policy refused; nothing else happened. `refused` is that of a dispatch.
struct DeniedRecord {
  static constexpr RecordType type = RecordType::denied;
  Action action = Action::dispatch;
  uint32_t resource = index_none;
  int64_t amount = 0;
  uint64_t epoch = 0;
  bool error = false;  // a rule could not be evaluated
  std::vector<uint16_t> rules;
  template <class F>
  void fields(F&& f) {
    f("action", action), f("resource", resource), f("amount", amount), f("epoch", epoch);
    f("error", error), f("rules", rules);
  }
};

// As policy_loaded, with the schema that the rules were checked against.
struct TypedPolicyLoadedRecord {
  static constexpr RecordType type = RecordType::typed_policy_loaded;
  uint64_t epoch = 0;
  Bulk text, schema;
  template <class F>
  void fields(F&& f) {
    f("epoch", epoch), f("text", text), f("schema", schema);
  }
};

// Something that governance should remember; with a rule it is a lesson, and makes an epoch.
struct GovernedRecord {
  static constexpr RecordType type = RecordType::governed;
  std::string kind, note, rule;
  uint64_t cause = UINT64_MAX;  // the position of the event behind it
  uint64_t epoch = 0;           // from now on
  template <class F>
  void fields(F&& f) {
    f("kind", kind), f("note", note), f("rule", rule), f("cause", cause), f("epoch", epoch);
  }
};

struct LessonRepealedRecord {
  static constexpr RecordType type = RecordType::lesson_repealed;
  uint64_t lesson = 0;  // the position of its `governed`
  uint64_t cause = UINT64_MAX;
  uint64_t epoch = 0;
  template <class F>
  void fields(F&& f) {
    f("lesson", lesson), f("cause", cause), f("epoch", epoch);
  }
};

// What the agent says is untrusted, `distance` hops from where it began; label_trusted: no longer.
struct LabelChangedRecord {
  static constexpr RecordType type = RecordType::label_changed;
  uint32_t agent = 0, from = 0;  // from: whom it heard, or who says so
  uint8_t distance = 0;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("from", from), f("distance", distance);
  }
};

// A dispatch under a rate: it takes one of each of these, back when the window has passed.
struct RateLine {
  uint32_t tenant = 0;
  std::string unit;
  uint32_t count = 0;  // of the window; what the tenant's account lacks is issued first
  uint64_t expires_ns = 0;
  template <class F>
  void fields(F&& f) {
    f("tenant", tenant), f("unit", unit), f("count", count), f("expires_ns", expires_ns);
  }
};

}  // namespace hanse
