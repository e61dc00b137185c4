// Governance events, the lessons among them, and the epochs that they make.
#include "kernel/governance.hpp"

#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

std::string lesson_text(Position event, std::string_view rule) {
  std::string text = "@lesson(\"" + std::to_string(event) + "\") ";
  if (rule.find("@id") == rule.npos) text += "@id(\"lesson-" + std::to_string(event) + "\") ";
  return text.append(rule);
}

std::string Governance::composed(std::string_view loaded_text) const {
  std::string text(loaded_text);
  for (const Lesson& lesson : lessons)
    if (!lesson.repealed) text.append("\n").append(lesson.rule);
  return text;
}

Lesson* Governance::find(Position event) {
  const auto found = std::ranges::lower_bound(lessons, event, {}, &Lesson::event);
  return found != lessons.end() && found->event == event ? &*found : nullptr;
}

void Governance::encode(ByteWriter& writer) const {
  writer.put_text(schema);
  writer.put(report.events), writer.put(report.active_days), writer.put(last_day);
  for (const auto& [kind, count] : report.by_kind) writer.put_text(kind), writer.put(count);
  for (const Lesson& lesson : lessons) {
    writer.put(lesson.event), writer.put(lesson.cause), writer.put(lesson.epoch);
    writer.put(lesson.author), writer.put_text(lesson.rule), writer.put(lesson.repealed);
  }
  for (uint32_t agent = 0; agent < distances.size(); ++agent)
    if (distances[agent] != label_trusted) writer.put(agent), writer.put(distances[agent]);
}

// --- apply

void Kernel::Inner::apply(const Envelope&, Position, PolicyLoadedRecord& record) {
  std::vector<uint8_t> scratch;
  const Bytes text = bulk_bytes(record.text, scratch);
  governance.loaded.assign(reinterpret_cast<const char*>(text.data()), text.size());
  governance.schema.clear();
  adopt(record.epoch);
}

void Kernel::Inner::apply(const Envelope&, Position, TypedPolicyLoadedRecord& record) {
  std::vector<uint8_t> scratch;
  const Bytes text = bulk_bytes(record.text, scratch);
  governance.loaded.assign(reinterpret_cast<const char*>(text.data()), text.size());
  const Bytes schema = bulk_bytes(record.schema, scratch);
  governance.schema.assign(reinterpret_cast<const char*>(schema.data()), schema.size());
  adopt(record.epoch);
}

void Kernel::Inner::apply(const Envelope& envelope, Position position, GovernedRecord& record) {
  GovernanceReport& report = governance.report;
  ++report.events;
  ++report.by_kind[record.kind];
  const uint64_t day = envelope.time_ns / 86'400'000'000'000;
  if (day != governance.last_day) ++report.active_days;
  governance.last_day = day;
  if (record.rule.empty()) return;
  Lesson lesson;
  lesson.event = position;
  lesson.cause = record.cause;
  lesson.epoch = record.epoch;
  lesson.author = envelope.actor;
  lesson.kind = record.kind;
  lesson.rule = lesson_text(position, record.rule);
  governance.lessons.push_back(std::move(lesson));
  adopt(record.epoch);
}

void Kernel::Inner::apply(const Envelope&, Position, LessonRepealedRecord& record) {
  Lesson* const lesson = governance.find(record.lesson);
  HANSE_ASSERT(lesson != nullptr);
  lesson->repealed = true;
  adopt(record.epoch);
}

void Kernel::Inner::adopt(uint64_t next_epoch) {
  program = compile(governance.composed(), governance.schema);
  epoch = next_epoch;
  directory_version.fetch_add(1);
}

// --- commands

// Rules that would keep the root from changing them again are refused: no one could undo them.
std::shared_ptr<const Program> Kernel::Inner::compile_next(std::string_view text,
                                                           std::string_view schema) const {
  auto next = compile(text, schema);
  for (const Action action : {Action::load_policy, Action::learn})
    if (!next->decide(question(0, action, 0), epoch + 1).allowed)
      throw Error(ErrorCode::policy_lockout, "policy",
                  std::string("would keep the root from loading another: permit ") +
                      action_name(action) + " for it");
  return next;
}

uint64_t Kernel::load_policy(AgentId actor, std::string_view text, std::string_view schema) {
  Inner& in = *inner_;
  in.check_open();
  const auto bytes_of = [](std::string_view part) {
    return Bytes{reinterpret_cast<const uint8_t*>(part.data()), part.size()};
  };
  const Bulk bulk = in.make_bulk(bytes_of(text)), types = in.make_bulk(bytes_of(schema));
  Position position;
  uint64_t epoch;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    in.require_policy(me, Action::load_policy, 0);
    if (me != 0) throw Error(ErrorCode::not_permitted, "policy", "only the root loads it", actor);
    in.compile_next(in.governance.composed(text), schema);
    if (schema.empty()) {
      PolicyLoadedRecord record{in.epoch + 1, bulk};
      position = in.commit(me, record);
    } else {
      TypedPolicyLoadedRecord record{in.epoch + 1, bulk, types};
      position = in.commit(me, record);
    }
    epoch = in.epoch;
  }
  in.wait(position);
  return epoch;
}

// Whoever is not the root needs a rule that names the action: a permit for everything is not meant
// for those who make rules.
void Kernel::Inner::require_author(uint32_t actor, Action action) {
  if (label_forbids(actor, action)) return require_policy(actor, action, 0);
  const Request request = question(actor, action, 0);
  const Decision decision = program->decide(request, epoch);
  if (decision.allowed && (actor == 0 || decision.named)) return;
  const Position position = record_denial(actor, request, decision);
  const std::string why =
      decision.allowed
          ? std::string("no rule names Action::\"") + action_name(action) + "\" for the author"
          : name_rules({decision.rules.data(), std::min(decision.rule_count, rules_fired_max)});
  throw Error(ErrorCode::policy_denied, action_name(action), why, agents.id_at(actor), position);
}

void Kernel::Inner::check_lesson(std::string_view rule, Position event) const {
  const auto alone = compile(rule, governance.schema);
  if (alone->rule_count() != 1)
    throw Error(ErrorCode::policy_compile, "rule",
                "line 1, column 1: expected one rule, got " + std::to_string(alone->rule_count()));
  const RuleInfo info = alone->rule(0);
  if (info.lesson != UINT64_MAX)
    throw Error(ErrorCode::policy_compile, "rule",
                "line 1, column 1: expected no @lesson, which the kernel writes, got one");
  if (!info.forbids && info.obligations == 0)
    throw Error(ErrorCode::policy_compile, "rule",
                "line 1, column 1: expected a forbid or an obligation, since a lesson grants "
                "nothing, got a permit");
  compile_next(governance.composed() + "\n" + lesson_text(event, rule), governance.schema);
}

Position Kernel::govern(AgentId actor, const GovernanceEvent& event) {
  Inner& in = *inner_;
  if (event.kind.empty()) throw Error(ErrorCode::empty, "kind", "names what happened");
  if (event.kind.size() > governance_kind_size_max)
    throw Error(ErrorCode::too_large, "kind", event.kind.size(), governance_kind_size_max);
  if (event.note.size() > governance_note_size_max)
    throw Error(ErrorCode::too_large, "note", event.note.size(), governance_note_size_max);
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    in.require_author(me, Action::learn);
    if (event.cause != UINT64_MAX && event.cause >= in.journal->count())
      throw Error(ErrorCode::unknown_event, "cause", event.cause, in.journal->count());
    const auto& kinds = in.governance.report.by_kind;
    if (kinds.size() == governance_kinds_max && !kinds.contains(event.kind))
      throw Error(ErrorCode::quota_exceeded, "kind", kinds.size() + 1, governance_kinds_max);
    if (!event.rule.empty()) in.check_lesson(event.rule, in.journal->count());
    GovernedRecord record{std::string(event.kind), std::string(event.note), std::string(event.rule),
                          event.cause, in.epoch + (event.rule.empty() ? 0 : 1)};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

uint64_t Kernel::repeal_lesson(AgentId actor, Position lesson, uint64_t cause) {
  Inner& in = *inner_;
  Position position;
  uint64_t epoch;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    in.require_policy(me, Action::load_policy, 0);
    if (me != 0) throw Error(ErrorCode::not_permitted, "lesson", "only the root repeals", actor);
    const Lesson* const found = in.governance.find(lesson);
    if (found == nullptr) throw Error(ErrorCode::unknown_event, "lesson", lesson, 0);
    if (found->repealed)
      throw Error(ErrorCode::already_resolved, "lesson", "was repealed before", 0, lesson);
    if (cause != UINT64_MAX && cause >= in.journal->count())
      throw Error(ErrorCode::unknown_event, "cause", cause, in.journal->count());
    LessonRepealedRecord record{lesson, cause, in.epoch + 1};
    position = in.commit(me, record);
    epoch = in.epoch;
  }
  in.wait(position);
  return epoch;
}

Governance Kernel::governance() const {
  std::lock_guard lock(inner_->writer);
  inner_->check_open();
  return inner_->governance;
}

}  // namespace hanse
