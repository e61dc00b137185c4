// Standing, roles, ratings, passports, and what accepted work costs.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

void Kernel::Inner::apply_verdict(const Envelope& envelope, uint32_t index, bool success,
                                  uint64_t house) {
  const Task& task = tasks.at(index);
  ReputationTable::Verdict verdict;
  verdict.task = index;
  verdict.worker = index_of(task.worker);
  verdict.task_class = task.task_class;
  verdict.success = success;
  verdict.requester_party = agents.controller(index_of(task.requester));
  verdict.worker_party = agents.controller(verdict.worker);
  verdict.house_fee = house;
  verdict.time_ns = envelope.time_ns;
  reputation.apply_verdict(verdict);
}

bool Kernel::Inner::holds_role(uint32_t agent, std::string_view name) const {
  const Role* role = reputation.role(name);
  if (role == nullptr) throw Error(ErrorCode::unknown_role, "role", name);
  if ((agents.permissions(agent) & role->permissions) != role->permissions) return false;
  if (role->task_class.empty()) return true;
  const uint16_t task_class = tasks.class_find(role->task_class);
  if (task_class == task_class_none) return role->mean_min <= 500'000 && role->weight_min == 0;
  const Standing standing =
      reputation.standing(agent, task_class, std::max(last_time_ns, clock->now_ns()));
  return standing.mean() >= role->mean_min && standing.weight() >= role->weight_min;
}

Position Kernel::set_reputation_terms(AgentId actor, const ReputationTerms& terms) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    if (me != 0) throw Error(ErrorCode::not_permitted, "terms", "only the root sets them", actor);
    ReputationTermsRecord record{terms};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

Position Kernel::rate(AgentId actor, TaskId id, bool success) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t index = in.task_for(me, id, false);
    if (!in.tasks.settled(index) && in.tasks.at(index).state != TaskState::rejected)
      throw Error(ErrorCode::no_receipt, "task", "is not settled", id);
    in.reputation.check_rating(index, id);
    if (me != 0 &&
        in.agents.controller(me) == in.agents.controller(index_of(in.tasks.at(index).worker)))
      throw Error(ErrorCode::self_dealing, "task", "rater and worker are one party", id);
    RatedRecord record{index, success};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

Standing Kernel::standing(AgentId actor, AgentId agent, std::string_view task_class) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t target = in.visible(in.agents.index_checked(actor), agent);
  const uint16_t found = in.tasks.class_find(task_class);
  if (found == task_class_none) return {};
  return in.reputation.standing(target, found, std::max(in.last_time_ns, in.clock->now_ns()));
}

std::vector<NamedStanding> Kernel::standings(AgentId actor, AgentId agent) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t target = in.visible(in.agents.index_checked(actor), agent);
  std::vector<NamedStanding> named;
  for (const auto& [task_class, standing] :
       in.reputation.standings(target, std::max(in.last_time_ns, in.clock->now_ns())))
    named.push_back({in.tasks.class_name(task_class), standing});
  return named;
}

Position Kernel::set_role(AgentId actor, const Role& role) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    if (me != 0) throw Error(ErrorCode::not_permitted, "role", "only the root sets them", actor);
    in.reputation.check_role(role);
    if (!role.task_class.empty()) in.tasks.check_class(role.task_class);
    RoleSetRecord record{role};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

std::vector<Role> Kernel::roles() const {
  std::lock_guard lock(inner_->writer);
  inner_->check_open();
  return inner_->reputation.roles();
}

bool Kernel::has_role(AgentId actor, AgentId agent, std::string_view role) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  return in.holds_role(in.visible(in.agents.index_checked(actor), agent), role);
}

std::vector<Attempt> Kernel::judged_attempts(AgentId actor, AgentId agent) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  std::vector<Attempt> attempts;
  in.tasks.attempts.judged(in.visible(in.agents.index_checked(actor), agent), attempts);
  return attempts;
}

Odds Kernel::odds(std::string_view task_class, uint8_t tier, AgentId agent) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t worker = agent == id_none ? index_none : in.agents.index_checked(agent);
  const uint16_t found = in.tasks.class_find(task_class);
  return found == task_class_none ? Odds{} : in.tasks.attempts.odds(found, tier, worker);
}

CostFound Kernel::cost(AgentId actor, const CostAsked& asked) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t me = in.agents.index_checked(actor);
  CostQuery query;
  if (asked.task_class) {
    query.task_class = in.tasks.class_find(*asked.task_class);
    if (*query.task_class == task_class_none) return {};  // it has done nothing yet
  }
  query.tier = asked.tier;
  if (asked.agent != id_none) query.worker = in.visible(me, asked.agent);
  query.since_ns = asked.since_ns;
  query.until_ns = asked.until_ns;
  const uint32_t team = asked.team == id_none ? me : in.visible(me, asked.team);
  if (team != 0)
    query.of_team = [&in, team](uint32_t requester) { return in.agents.within(requester, team); };
  return in.tasks.attempts.cost(query);
}

// --- passports

std::vector<OfferHeld> Kernel::offers_of(AgentId agent) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t index = in.agents.index_checked(agent);
  std::vector<OfferHeld> offers;
  for (uint32_t space = 0; space < in.capabilities.space_count(); ++space) {
    for (uint32_t i = 0; i < in.capabilities.row_count(space); ++i) {
      const CapabilityStore::Row row = in.capabilities.row(space, i);
      if (row.found && row.agent == index)
        offers.push_back({in.capabilities.space(space).name, row.offer, row.version, row.price,
                          row.tier, row.skills});
    }
  }
  return offers;
}

namespace {

// Where two histories of one identity part; the number of entries that they share.
size_t shared_entries(const IdentityHistory& known, const std::vector<IdentityEntry>& entries) {
  size_t at = 0;
  while (at < known.entries.size() && at < entries.size() &&
         identity_entry_hash(known.identity, uint32_t(at), known.entries[at]) ==
             identity_entry_hash(known.identity, uint32_t(at), entries[at]))
    ++at;
  return at;
}

Digest head_of(const Digest& identity, const std::vector<IdentityEntry>& entries) {
  return entries.empty()
             ? identity
             : identity_entry_hash(identity, uint32_t(entries.size() - 1), entries.back());
}

}  // namespace

AgentId Kernel::admit(AgentId actor, const PassportAdmission& passport) {
  Inner& in = *inner_;
  Position position;
  AgentId id;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    uint32_t agent = in.agent_of(passport.identity);
    if (agent != index_none) (void)in.within(me, in.agents.id_at(agent));
    static const IdentityHistory none;
    const IdentityHistory* held = agent == index_none ? nullptr : in.identities.find(agent);
    const IdentityHistory& known = held ? *held : none;
    const size_t shared = held ? shared_entries(known, passport.entries) : 0;
    if (shared < known.entries.size() && shared < passport.entries.size())
      throw Error(ErrorCode::identity_fork, "history",
                  "after entry " + std::to_string(shared) + " the heads are " + hex(known.head) +
                      " here and " + hex(head_of(passport.identity, passport.entries)) +
                      " in the passport",
                  in.agents.id_at(agent));
    IdentityTable trial;  // the whole history must hold, one entry after the other
    for (const IdentityEntry& entry : passport.entries) {
      trial.check(0, passport.identity, entry, true);
      trial.apply(0, passport.identity, entry);
    }
    for (const NamedStanding& line : passport.standings) in.tasks.check_class(line.task_class);
    if (agent == index_none) {
      AgentsAdded added;
      added.parent = passport.parent == id_none ? actor : passport.parent;
      if (!passport.name.empty()) added.names = {passport.name};
      added.identities = {passport.identity};
      const uint32_t parent = in.within(me, added.parent);
      in.agents.check_add(added);
      in.require_policy(me, Action::add_agent, parent);
      ByteWriter names, identities;
      for (const std::string& name : added.names) names.put_text(name);
      identities.put_digest(passport.identity);
      AgentsAddedRecord record{parent,
                               1,
                               added.kind,
                               added.permissions,
                               added.budget_max,
                               in.name_bulk(names.bytes()),
                               in.name_bulk(identities.bytes())};
      agent = in.agents.count();
      in.commit(me, record);
    }
    PassportAdmittedRecord record;
    record.agent = agent;
    record.source = passport.source;
    record.document = passport.document;
    for (size_t i = shared; i < passport.entries.size(); ++i) {
      const IdentityEntry& entry = passport.entries[i];
      record.entries.push_back(
          {entry.step, entry.previous, entry.signer, entry.key, entry.text, entry.signature});
    }
    // An older passport of an agent that is known says nothing new.
    const bool news = shared == known.entries.size();
    for (const NamedStanding& line : passport.standings)
      if (news) record.standings.push_back({line.task_class, line.standing});
    position = in.commit(me, record);
    id = in.agents.id_at(agent);
  }
  in.wait(position);
  return id;
}

// --- apply

void Kernel::Inner::apply(const Envelope& envelope, Position, RatedRecord& record) {
  reputation.apply_rating(record.task, record.success, envelope.time_ns);
}

void Kernel::Inner::apply(const Envelope&, Position, RoleSetRecord& record) {
  reputation.apply_role(record.role);
}

void Kernel::Inner::apply(const Envelope&, Position, ReputationTermsRecord& record) {
  reputation.apply_terms(record.terms);
}

void Kernel::Inner::apply(const Envelope&, Position position, PassportAdmittedRecord& record) {
  const Digest identity = *agents.info(record.agent).identity;
  for (IdentityLine& line : record.entries)
    identities.apply(record.agent, identity,
                     {line.step, line.previous, line.signer, line.key, std::move(line.text),
                      std::move(line.signature), position});
  for (const StandingLine& line : record.standings)
    reputation.apply_imported(record.agent, tasks.class_find_or_add(line.task_class),
                              line.standing);
}

}  // namespace hanse
