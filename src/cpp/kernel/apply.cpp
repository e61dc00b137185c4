// State = fold(journal): what each record does. Live commands and replay both come through here.
// Nothing in here can fail after the command's check, but for what the disk does.
#include <cstring>

#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"
#include "kernel/publication.hpp"

namespace hanse {

void Kernel::Inner::apply(const Envelope&, Position, GenesisRecord& record) {
  if (record.format != 1) throw Error(ErrorCode::log_version, "format", record.format, 1);
  genesis = record;
  ledger.apply_fee(record.fee_basis_points);
}

void Kernel::Inner::apply(const Envelope&, Position, AgentsAddedRecord& record) {
  AgentsAdded added;
  added.parent = agents.id_at(record.parent);
  added.kind = record.kind;
  added.count = record.count;
  added.permissions = record.permissions;
  added.budget_max = record.budget_max;
  std::vector<uint8_t> scratch;
  if (record.names.size != 0) {
    ByteReader reader(bulk_bytes(record.names, scratch));
    added.names.reserve(record.count);
    for (uint32_t i = 0; i < record.count; ++i) added.names.emplace_back(reader.get_text());
    reader.expect_end();
  }
  if (record.identities.size != 0) {
    ByteReader reader(bulk_bytes(record.identities, scratch));
    for (uint32_t i = 0; i < record.count; ++i) added.identities.push_back(reader.get_digest());
    reader.expect_end();
  }
  agents.apply_add(added);
  directory_version.fetch_add(1);
}

void Kernel::Inner::apply(const Envelope&, Position, AgentRevokedRecord& record) {
  agents.apply_revoke(record.agent);
  durable.apply_close([&](uint32_t agent) { return agents.within(agent, record.agent); },
                      Outcome::revoked);
  directory_version.fetch_add(1);
}

void Kernel::Inner::apply(const Envelope&, Position, SpaceCreatedRecord& record) {
  capabilities.apply_space({record.name, record.dim, record.metric, record.model});
}

void Kernel::Inner::apply(const Envelope&, Position, PublishedRecord& record) {
  std::vector<uint8_t> scratch;
  const uint32_t dim = capabilities.space(record.space).dim;
  const Publication publication =
      decode_publication(bulk_bytes(record.columns, scratch), record.offer, record.count, dim);
  std::vector<uint32_t> versions(record.count);
  capabilities.apply_publish(
      record.space, publication.offers, publication.expected,
      [this](uint32_t agent) { return agents.tenant(agent); }, versions);
}

void Kernel::Inner::apply(const Envelope&, Position, WithdrawnRecord& record) {
  capabilities.apply_withdraw(record.space, record.row);
}

void Kernel::Inner::apply(const Envelope&, Position, FundedRecord& record) {
  ledger.apply_fund(record.agent, record.amount, ledger.apply_unit(record.unit));
}

void Kernel::Inner::apply(const Envelope&, Position, RatesSetRecord& record) {
  ledger.apply_rates(ledger.apply_unit(record.unit), record.tier, record.rates);
}

void Kernel::Inner::apply(const Envelope& envelope, Position position, DispatchedRecord& record) {
  apply_dispatched(envelope, position, record, nullptr);
}

uint32_t Kernel::Inner::apply_dispatched(const Envelope& envelope, Position position,
                                         DispatchedRecord& record, TaskMore* more) {
  Task task;
  if (more != nullptr && !more->rule.empty()) task.state = TaskState::offered;
  task.requester = agents.id_at(record.requester);
  task.worker = agents.id_at(record.worker);
  task.space = record.space;
  task.offer = record.offer;
  task.version = record.version;
  task.tier = record.tier;
  task.verifier_required = record.verifier_required;
  task.task_class = tasks.class_find_or_add(record.task_class);
  task.unit = record.unit;
  task.price = record.price;
  task.budget = record.budget;
  task.hold = ledger.apply_hold(record.requester, record.budget, record.unit, 0);
  task.dispatched_ns = envelope.time_ns;
  task.deadline_ns = record.deadline_ns;
  task.dispatched_at = task.changed_at = position;
  task.epoch = record.epoch;
  task.score = record.score;
  task.payload_size = record.payload.size;
  if (record.payload.in_extent())
    task.payload_extent = record.payload.extent;
  else
    task.payload = std::move(record.payload.bytes);
  for (const ManifestLine& line : record.latents) task.latents.push_back(line.manifest);
  const bool offered = task.state == TaskState::offered;
  const uint32_t index = tasks.apply_dispatch(std::move(task));
  if (more != nullptr) tasks.apply_more(index, std::move(*more));
  if (record.row != index_none) capabilities.apply_open(record.space, record.row, 1);
  if (!record.key.empty()) {
    KeyedResult result;
    result.body = record.body;
    result.position = position;
    result.task = tasks.id_at(index);
    result.worker = agents.id_at(record.worker);
    result.offer = record.offer;
    result.version = record.version;
    result.score = record.score;
    result.price = record.price;
    result.reserved = record.budget;
    result.epoch = record.epoch;
    tasks.apply_key(record.requester, record.key, result);
  }
  if (!offered) queue_delivery(index, position);
  rearm(offered ? tasks.more(index)->answer_by_ns : record.deadline_ns);
  return index;
}

void Kernel::Inner::apply(const Envelope&, Position position, RefusedRecord& record) {
  if (record.key.empty() || HANSE_SEEDED_BUG(38)) return;
  KeyedResult result;
  result.body = record.body;
  result.position = position;
  result.outcome = record.outcome;
  result.epoch = record.epoch;
  tasks.apply_key(record.requester, record.key, result);
}

void Kernel::Inner::apply(const Envelope&, Position position, CompletedRecord& record) {
  const Task& task = tasks.at(record.task);
  const uint32_t payer = index_of(task.requester);
  if (record.cost != 0)
    ledger.apply_draw(task.hold, record.cost,
                      ledger.apply_account(0, task.unit, AccountPurpose::usage));
  ledger.apply_remainder(ledger.apply_account(payer, task.unit), record.remainder);
  tasks.apply_complete(record.task, record.artifact, record.usage, record.cost, position);
}

// The row's slot is free again, wherever the offer is now.
void Kernel::Inner::release_slot(const Task& task, uint32_t space, uint32_t agent, uint32_t offer) {
  if (task.version == 0 || HANSE_SEEDED_BUG(39)) return;
  const uint32_t row = capabilities.row_find(space, agent, offer);
  if (row != index_none) capabilities.apply_open(space, row, -1);
}

void Kernel::Inner::settle_task(uint32_t index, HoldState state) {
  const Task& task = tasks.at(index);
  ledger.apply_resolve(task.hold, state);
  release_slot(task, task.space, index_of(task.worker), task.offer);
  drop_latents(index);
}

void Kernel::Inner::apply(const Envelope& envelope, Position position, JudgedRecord& record) {
  const Task& task = tasks.at(record.task);
  const AgentId verifier = record.verifier == index_none ? id_none : agents.id_at(record.verifier);
  switch (Verdict(record.verdict)) {
    case Verdict::accept:
      if (record.fee > record.house)
        ledger.apply_draw(task.hold, record.fee - record.house,
                          ledger.apply_account(index_of(task.worker), task.unit));
      if (record.house != 0)
        ledger.apply_draw(task.hold, record.house,
                          ledger.apply_account(0, task.unit, AccountPurpose::fees));
      settle_task(record.task, HoldState::posted);
      apply_verdict(envelope, record.task, true, record.house);
      tasks.apply_accept(record.task, verifier, record.fee, position);
      return;
    case Verdict::reject:
      apply_verdict(envelope, record.task, false, 0);
      tasks.apply_reject(record.task, verifier, position);
      return;
    case Verdict::withdraw:
      settle_task(record.task, HoldState::voided);
      tasks.apply_void(record.task, position);
      return;
  }
  throw Error(ErrorCode::corrupt, "verdict", record.verdict, 2);
}

void Kernel::Inner::apply(const Envelope&, Position position, EscalatedRecord& record) {
  const Task& task = tasks.at(record.task);
  // The old reservation gives back what was not drawn; the new one may take no more than that.
  settle_task(record.task, HoldState::voided);
  TaskTable::Escalation to{};
  to.worker = agents.id_at(record.worker);
  to.space = record.space;
  to.offer = record.offer;
  to.version = record.version;
  to.tier = record.tier;
  to.price = record.price;
  to.hold = ledger.apply_hold(index_of(task.requester), record.reserved, task.unit, 0);
  to.epoch = record.epoch;
  to.score = record.score;
  tasks.apply_escalate(record.task, to, position);
  if (record.row != index_none) capabilities.apply_open(record.space, record.row, 1);
  queue_delivery(record.task, position);
}

void Kernel::Inner::apply(const Envelope&, Position position, ExpiredRecord& record) {
  for (const uint32_t task : record.tasks) {
    settle_task(task, HoldState::expired);
    tasks.apply_expire(task, position);
  }
  for (const HoldId hold : record.holds) {
    if (!rate_expiries.empty()) rate_expiries.erase({ledger.hold(hold).expires_ns, hold});
    ledger.apply_resolve(hold, HoldState::expired);
  }
}

void Kernel::Inner::apply(const Envelope&, Position position, RedeliveredRecord& record) {
  for (const uint32_t task : record.tasks) {
    tasks.apply_redeliver(task, position);
    queue_delivery(task, position);
  }
}

void Kernel::Inner::apply(const Envelope&, Position, RefusalsCountedRecord&) {}

std::shared_ptr<const Program> Kernel::Inner::compile(std::string_view text,
                                                      std::string_view schema) const {
  const auto resolve = [this](std::string_view, std::string_view name) {
    if (name.starts_with('#')) {
      const AgentId id = std::strtoull(std::string(name.substr(1)).c_str(), nullptr, 10);
      return agents.contains(id) ? index_of(id) : index_none;
    }
    return agents.find(name);
  };
  return Program::compile(text, resolve, schema);
}

ConceptHashes Kernel::Inner::state_hash() const {
  ConceptHashes hashes;
  hashes.agent = agents.state_hash();
  if (!identities.empty() || !reputation.empty() || !attention.empty()) {
    ByteWriter more;
    more.put_digest(hashes.agent);
    more.put_digest(identities.state_hash());
    more.put_digest(reputation.state_hash());
    attention.encode(more);
    hashes.agent = sha256(more.bytes());
  }
  hashes.capability = capabilities.state_hash();
  ByteWriter policy;
  policy.put(epoch);
  policy.put_text(program->text());
  if (!governance.empty()) governance.encode(policy);
  hashes.policy = sha256(policy.bytes());
  hashes.ledger = ledger.state_hash();
  hashes.task = tasks.state_hash();
  ByteWriter all;
  for (const Digest* digest :
       {&hashes.agent, &hashes.capability, &hashes.policy, &hashes.ledger, &hashes.task})
    all.put_digest(*digest);
  if (!durable.empty()) {
    hashes.mailbox = durable.state_hash();
    all.put_digest(*hashes.mailbox);
  }
  hashes.all = sha256(all.bytes());
  return hashes;
}

ConceptHashes Kernel::state_hash() const {
  std::lock_guard lock(inner_->writer);
  return inner_->state_hash();
}

}  // namespace hanse
