// What governance remembers: the loaded rules, the lessons that every epoch holds until they are
// repealed, and how often which kind of event came. A fold of the journal.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/snapshot.hpp"
#include "journal/journal.hpp"

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

}  // namespace hanse
