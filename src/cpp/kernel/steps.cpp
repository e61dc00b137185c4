// The steps that commands share: checks, time, expiry, waiting.
#include "base/random.hpp"
#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"

namespace hanse {

void Kernel::Inner::check_open() const {
  if (fork_count != process_fork_count())
    throw Error(ErrorCode::forked, "kernel", "opened by another process; open it again here");
  if (closed.load(std::memory_order_relaxed)) throw Error(ErrorCode::closed, "kernel", "is closed");
}

void Kernel::Inner::begin() {
  check_open();
  if (options.read_only) throw Error(ErrorCode::read_only, "kernel", "opened read-only");
  if (!broken.empty()) throw Error(ErrorCode::poisoned, "kernel", broken);
  expire_due(clock->now_ns());
}

uint32_t Kernel::Inner::acting(AgentId actor) const {
  const uint32_t index = agents.index_checked(actor);
  if (agents.live(index)) return index;
  const uint32_t revoked = agents.revoked_ancestor(index);
  if (revoked != index_none)
    throw Error(ErrorCode::revoked, "actor", "the agent or an ancestor is revoked",
                agents.id_at(revoked));
  throw Error(ErrorCode::paused, "actor", "the agent or an ancestor is paused",
              agents.id_at(agents.paused_ancestor(index)));
}

bool Kernel::Inner::same_view(uint32_t actor, uint32_t target) const {
  return actor == 0 || target == 0 || agents.tenant(actor) == agents.tenant(target);
}

uint32_t Kernel::Inner::visible(uint32_t actor, AgentId target) const {
  const uint32_t index = agents.index_checked(target);
  if (!same_view(actor, index))
    throw Error(ErrorCode::unknown_agent, "agent", "no such agent", target);
  return index;
}

uint32_t Kernel::Inner::within(uint32_t actor, AgentId target) const {
  const uint32_t index = visible(actor, target);
  if (!agents.within(index, actor))
    throw Error(ErrorCode::not_permitted, "agent", "is not the actor or below it", target);
  return index;
}

Lineage Kernel::Inner::lineage(uint32_t agent) const {
  Lineage lineage;
  for (uint32_t at = agent; at != index_none && lineage.size < lineage.chain.size();
       at = agents.parent(at))
    lineage.chain[lineage.size++] = at;
  return lineage;
}

// Counting takes a dozen locks and a look at each block, so it is done at every 64th command, and
// at each once what was promised since could fill a quarter of what was free.
void Kernel::Inner::check_memory(uint64_t more, const char* field) {
  constexpr uint32_t checks_a_count = 64;
  const uint64_t free = options.memory_max - std::min(memory_counted, uint64_t(options.memory_max));
  if (memory_checks++ % checks_a_count == 0 || more + memory_promised > free / 4) {
    memory_counted = agents.memory_bytes() + identities.memory_bytes() + reputation.memory_bytes() +
                     capabilities.memory_bytes() + ledger.memory_bytes() + tasks.memory_bytes() +
                     journal->memory_bytes() + flow->memory_bytes() + durable.memory_bytes() +
                     latents->memory_bytes() + history_bytes.load();
    memory_promised = 0;
    if (memory_counted + more > options.memory_max)
      throw Error(ErrorCode::quota_exceeded, field, memory_counted + more, options.memory_max);
  }
  memory_promised += more;
}

uint64_t Kernel::Inner::next_time_ns() { return std::max(last_time_ns + 1, clock->now_ns()); }

void Kernel::Inner::wait(Position position) {
  if (durability != Durability::memory && !HANSE_SEEDED_BUG(54)) journal->wait_durable(position);
}

// A bounded number at a time, so that no command pays for a burst of deadlines.
uint32_t Kernel::Inner::expire_due(uint64_t now_ns) {
  const uint64_t rate_ns = rate_expiries.empty() ? UINT64_MAX : rate_expiries.begin()->first;
  if (tasks.earliest_deadline_ns() > now_ns && ledger.earliest_expiry_ns() > now_ns &&
      rate_ns > now_ns && durable.earliest_deadline_ns() > now_ns)
    return 0;
  ExpiredRecord record;
  tasks.due(now_ns, expiries_per_command_max, record.tasks);
  ledger.due(now_ns, expiries_per_command_max, record.holds);
  for (const auto& [expires_ns, hold] : rate_expiries) {
    if (expires_ns > now_ns || record.holds.size() >= expiries_per_command_max) break;
    record.holds.push_back(hold);
  }
  auto count = uint32_t(record.tasks.size() + record.holds.size());
  if (count != 0) commit(0, record);
  // A worker that was silent for longer than its lease has died: its task goes out again.
  std::vector<uint32_t> lapsed;
  tasks.lapsed(now_ns, expiries_per_command_max, lapsed);
  return_tasks(0, lapsed, Outcome::expired);
  return count + uint32_t(lapsed.size()) + expire_durable(now_ns);
}

// A task that has just expired gives its slot back before candidates are looked for, not after.
void Kernel::Inner::expire_before_search() {
  std::lock_guard lock(writer);
  begin();
}

Bulk Kernel::Inner::make_bulk(Bytes bytes) {
  Bulk bulk;
  bulk.size = uint32_t(bytes.size());
  if (bulk.in_extent()) bulk.extent = journal->put_extent(bytes, &bulk.pin);
  bulk.bytes.assign(bytes.begin(), bytes.end());
  return bulk;
}

Bulk Kernel::Inner::name_bulk(Bytes bytes) const {
  Bulk bulk;
  bulk.size = uint32_t(bytes.size());
  if (bulk.in_extent()) bulk.extent = sha256(bytes);
  bulk.bytes.assign(bytes.begin(), bytes.end());
  return bulk;
}

// Live commands still hold the bytes; replay fetches them.
Bytes Kernel::Inner::bulk_bytes(const Bulk& bulk, std::vector<uint8_t>& scratch) const {
  if (bulk.bytes.size() == bulk.size) return bulk.bytes;
  scratch = journal ? journal->get_extent(bulk.extent) : read_extent(*disk, bulk.extent);
  if (scratch.size() != bulk.size)
    throw Error(ErrorCode::corrupt, "extent " + hex(bulk.extent),
                std::to_string(scratch.size()) + " bytes where the record says " +
                    std::to_string(bulk.size));
  return scratch;
}

Outcome outcome_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::unknown_agent:
    case ErrorCode::unknown_task:
    case ErrorCode::unknown_offer:
    case ErrorCode::unknown_role:
      return Outcome::unknown;
    case ErrorCode::unknown_latent:
    case ErrorCode::lease_expired:
    case ErrorCode::latent_incompatible:
      return Outcome::latent_unavailable;
    case ErrorCode::too_large:
    case ErrorCode::payload_too_large:
      return Outcome::too_large;
    case ErrorCode::policy_denied:
    case ErrorCode::not_permitted:
    case ErrorCode::verifier_required:
      return Outcome::denied;
    case ErrorCode::rate_limited:
      return Outcome::rate_limited;
    case ErrorCode::revoked:
      return Outcome::revoked;
    case ErrorCode::paused:
      return Outcome::paused;
    case ErrorCode::role_missing:
      return Outcome::role_missing;
    case ErrorCode::insufficient_funds:
      return Outcome::insufficient_funds;
    case ErrorCode::budget_exceeded:
      return Outcome::budget_exceeded;
    case ErrorCode::exceeds_hold:
      return Outcome::exceeds_hold;
    case ErrorCode::already_resolved:
    case ErrorCode::illegal_transition:
      return Outcome::illegal_transition;
    case ErrorCode::duplicate_artifact:
      return Outcome::duplicate_artifact;
    case ErrorCode::storage_full:
    case ErrorCode::quota_exceeded:
    case ErrorCode::backpressure:
      return Outcome::full;
    default:
      return Outcome::invalid;
  }
}

}  // namespace hanse
