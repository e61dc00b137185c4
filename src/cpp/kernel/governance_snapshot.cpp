// Governance in a snapshot. The program is compiled again from it; rate holds are the ledger's.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

void Governance::encode(SnapshotWriter& out) const {
  out.put(loaded, schema, report.events, report.active_days, last_day);
  out.table(report.by_kind.size(), [at = report.by_kind.begin()](size_t, FieldWriter& f) mutable {
    f(at->first, at->second);
    ++at;
  });
  out.table(lessons.size(), [&](size_t i, FieldWriter& fields) { fields(lessons[i]); });
  out.put(distances);
  out.table(sources.size(), [at = sources.begin()](size_t, FieldWriter& f) mutable { f(*at++); });
}

void Governance::decode(SnapshotReader& in) {
  in.take(loaded, schema, report.events, report.active_days, last_day);
  in.table([&](size_t, FieldReader& fields) {
    std::string kind;
    uint64_t count = 0;
    fields(kind, count);
    in.require(report.by_kind.empty() || report.by_kind.rbegin()->first < kind, "governance.kind");
    report.by_kind.emplace_hint(report.by_kind.end(), std::move(kind), count);
  });
  in.table([&](size_t i, FieldReader& fields) {
    fields(lessons.emplace_back());
    in.require(i == 0 || lessons[i - 1].event < lessons[i].event, "lesson.event");
  });
  in.take(distances);
  in.table([&](size_t, FieldReader& fields) {
    uint32_t agent = 0;
    fields(agent);
    in.require(agent < distances.size() && distances[agent] == 0, "label.source");
    sources.insert(agent);
  });
  in.expect_end();
}

void Kernel::Inner::encode_policy(SnapshotWriter& out) const {
  out.put(epoch);
  if (governance.empty())
    out.put(governance.loaded);
  else
    governance.encode(out);
}

// Version 1 knew the loaded rules alone.
void Kernel::Inner::decode_policy(SnapshotReader& in, uint16_t version) {
  in.take(epoch);
  if (version > 1) return governance.decode(in);
  in.take(governance.loaded);
  in.expect_end();
}

// After the program's parts were decoded: what follows from governance and the ledger.
void Kernel::Inner::restore_policy() {
  program = compile(governance.composed(), governance.schema);
  any_untrusted = std::ranges::any_of(governance.distances,
                                      [](uint8_t distance) { return distance != label_trusted; });
  for (HoldId id = 1; id <= ledger.hold_count(); ++id) {
    const Hold& hold = ledger.hold(id);
    if (hold.state == HoldState::open && hold.expires_ns != 0 && ledger.of_task(hold))
      rate_expiries.insert({hold.expires_ns, id});
  }
}

}  // namespace hanse
