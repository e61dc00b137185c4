// What governance remembers: the loaded rules, the lessons that every epoch holds until they are
// repealed, and how often which kind of event came. A fold of the journal.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/snapshot.hpp"
#include "journal/journal.hpp"
#include "policy/policy.hpp"

namespace hanse {

constexpr size_t governance_kind_size_max = 64;
constexpr size_t governance_kinds_max = 1024;
constexpr size_t governance_note_size_max = 4096;

constexpr uint8_t label_trusted = 255;
constexpr uint8_t untrusted_hops_max = 8;  // as many hops as untrusted words are passed on

struct Lesson {
  Position event = 0;           // of its record; rules cite it
  uint64_t cause = UINT64_MAX;  // the position of the event behind it
  uint64_t epoch = 0;           // its first
  AgentId author = id_none;
  std::string kind, rule;  // rule: as it stands in the program
  bool repealed = false;
  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.event, self.cause, self.epoch, self.author, self.kind, self.rule, self.repealed);
  }
};

struct GovernanceReport {
  uint64_t events = 0;
  uint64_t active_days = 0;  // UTC days with at least one
  std::map<std::string, uint64_t, std::less<>> by_kind;
};

struct Governance {
  std::string loaded, schema;  // what was loaded last, without the lessons
  std::vector<Lesson> lessons;
  GovernanceReport report;
  uint64_t last_day = UINT64_MAX;
  // By agent: hops from where untrusted words came in, or label_trusted; shorter than the table of
  // agents while the rest is trusted. Sources stay at 0, whatever they hear.
  std::vector<uint8_t> distances;
  std::set<uint32_t> sources;

  // The program: what was loaded, then each lesson that stands.
  std::string composed(std::string_view loaded_text) const;
  std::string composed() const { return composed(loaded); }
  Lesson* find(Position event);
  bool empty() const { return report.events == 0 && schema.empty() && distances.empty(); }
  void encode(ByteWriter& writer) const;  // for the state hash
  static constexpr uint16_t snapshot_version = 1;
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);
};

// A lesson's rule as it stands in the program: it cites its event, and it has a name.
std::string lesson_text(Position event, std::string_view rule);

// What the context says besides hanse's own facts: "amount" or "context.amount",
// "resource.price".
struct PolicyColumn {
  std::string name;
  std::vector<Value> values;  // one for all questions, or one each
};

struct PolicyQuestions {
  Action action = Action::dispatch;
  std::span<const AgentId> principals;  // one for all, or one each; resources alike, or none
  std::span<const AgentId> resources;
  std::span<const PolicyColumn> context;
};

struct DryRun {
  struct Difference {
    Position position = position_none;  // about where in the journal
    Action action = Action::dispatch;
    AgentId principal = id_none, resource = id_none;
    std::string task_class;
    bool allowed_before = false, allowed_after = false;
    uint8_t obligations_before = 0, obligations_after = 0;
    std::vector<std::string> rules_before, rules_after;
  };
  size_t decisions = 0;    // that were tried again
  size_t differences = 0;  // all of them; the newest are listed
  std::vector<Difference> listed;
};
constexpr size_t decisions_remembered_max = 4096;  // for dry_run and shelved; not in the journal
constexpr size_t differences_listed_max = 1000;

struct GovernanceEvent {
  std::string_view kind;        // "lesson", "incident": at most 64 bytes
  std::string_view note;        // for people, at most 4 KiB
  std::string_view rule;        // one rule, or empty
  uint64_t cause = UINT64_MAX;  // the journal position of what led to it; UINT64_MAX: itself
};

}  // namespace hanse
