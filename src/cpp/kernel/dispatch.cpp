// dispatch: match, policy, reserve, deliver, record, all or nothing.
#include <algorithm>

#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"

namespace hanse {

Receipt Kernel::Inner::receipt_of(const KeyedResult& keyed) const {
  Receipt receipt;
  receipt.outcome = keyed.outcome == Outcome::ok ? Outcome::replayed : keyed.outcome;
  receipt.durability = durability;
  receipt.task = keyed.task;
  receipt.agent = keyed.worker;
  receipt.offer = keyed.offer;
  receipt.version = keyed.version;
  receipt.score = keyed.score;
  receipt.price = keyed.price;
  receipt.reserved = keyed.reserved;
  receipt.epoch = keyed.epoch;
  receipt.position = keyed.position;
  if (keyed.outcome != Outcome::ok) receipt.reason = "the key was used up by this refusal";
  return receipt;
}

// What each producer asks for its tokens of a latent, rounded up to a whole unit; one's own are
// free.
static void price_reads(uint32_t requester, uint32_t latent, std::span<const LatentShare> shares,
                        Kernel::Inner::Prepared& prepared) {
  for (const LatentShare& share : shares) {
    const uint32_t producer = index_of(share.producer);
    if (share.price == 0 || producer == requester) continue;
    const u128 amount = (u128(share.tokens) * share.price + 999'999) / 1'000'000;
    const u128 total = prepared.reads_amount + amount;
    if (total > UINT64_MAX)
      throw Error(ErrorCode::amount_overflow, "latents",
                  "reading them costs more than can be paid");
    prepared.reads_amount = uint64_t(total);
    prepared.reads.push_back({latent, producer, share.tokens, uint64_t(amount)});
  }
}

// Everything that needs no mutex: static checks, latents, the payload's extent, the body's digest.
void Kernel::Inner::prepare(AgentId actor, std::span<const DispatchRequest> requests, bool single,
                            std::vector<Prepared>& prepared_out) {
  prepared_out.resize(requests.size());
  uint32_t tenant;
  {
    std::lock_guard lock(writer);
    tenant = agents.tenant(acting(actor));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    Prepared& prepared = prepared_out[i];
    prepared.request = &requests[i];
    try {
      check_request(requests[i]);
      for (const LatentId latent : requests[i].latents) {
        const LatentInfo info = latents->info(latent, actor, tenant);
        price_reads(index_of(actor), uint32_t(prepared.latents.size()), info.shares, prepared);
        prepared.latents.push_back({info.content, info.fingerprint, info.tokens, info.size_bytes});
      }
    } catch (const Error& error) {
      if (single) throw;
      prepared.outcome = outcome_of(error);
      prepared.done = true;
      continue;
    }
    prepared.payload = make_bulk(requests[i].payload);
    if (!requests[i].key.empty()) prepared.body = body_digest(requests[i], prepared.latents);
  }
}

// The same key again: the stored receipt, or a conflict. The mutex is held.
bool Kernel::Inner::replayed(uint32_t actor, Prepared& prepared, Receipt& receipt_out) const {
  if (prepared.request->key.empty()) return false;
  const KeyedResult* keyed = tasks.keyed(actor, prepared.request->key);
  if (keyed == nullptr) return false;
  prepared.done = true;
  if (keyed->body == prepared.body || HANSE_SEEDED_BUG(37)) {
    receipt_out = receipt_of(*keyed);
  } else {
    receipt_out.outcome = Outcome::conflict;
    receipt_out.position = keyed->position;
    receipt_out.reason = "the key was used for another request";
  }
  return true;
}

Position Kernel::Inner::commit_tasked(uint32_t actor, const DispatchRequest& request,
                                      const Choice& choice, std::span<const ReadLine> reads,
                                      DispatchedRecord&& base) {
  const auto index_or_none = [](AgentId id) { return id == id_none ? index_none : index_of(id); };
  TaskedRecord record;
  record.base = std::move(base);
  record.base.verifier_required |= request.verifier != id_none || !request.verifier_role.empty();
  record.parent = request.parent == id_none ? index_none : index_of(request.parent);
  record.lease_ns = request.lease_ns;
  record.verifier = index_or_none(request.verifier);
  record.verifier_role = request.verifier_role;
  record.role = request.role;
  // What the requester asks for by itself comes before what a rule asks for.
  const bool own = !request.approval.empty();
  record.rule = own ? std::string(request.approval) : choice.approval;
  record.approver = index_or_none(own ? request.approver : choice.approver);
  record.rates = choice.rates;
  record.reads.assign(reads.begin(), reads.end());
  const uint64_t now = next_time_ns();
  if (!record.rule.empty()) {
    record.answer_by_ns = request.answer_by_ns == 0 ? now + day_ns : request.answer_by_ns;
    if (record.base.deadline_ns != 0)
      record.answer_by_ns = std::min(record.answer_by_ns, record.base.deadline_ns);
    ByteWriter asked;
    asked.put(record.base.requester), asked.put(record.base.worker), asked.put(record.base.budget);
    asked.put(record.base.price), asked.put(record.base.unit), asked.put(record.base.offer);
    asked.put(record.base.version), asked.put_text(record.base.task_class);
    asked.put_digest(record.base.payload.in_extent() ? record.base.payload.extent
                                                     : sha256(record.base.payload.bytes));
    record.asked = sha256(asked.bytes());
  }
  if (record.rule.empty() || record.reads.empty()) return commit_at(actor, now, record);
  TaskedUnpaidRecord unpaid{std::move(record)};
  return commit_at(actor, now, unpaid);
}

void Kernel::Inner::commit_dispatch(uint32_t actor, Prepared& prepared, const Choice& choice,
                                    Receipt& receipt_out) {
  const DispatchRequest& request = *prepared.request;
  DispatchedRecord record;
  record.requester = actor;
  record.worker = choice.worker;
  record.space = choice.space;
  record.row = choice.row;
  record.offer = choice.offer;
  record.version = choice.version;
  record.tier = choice.tier;
  record.unit = request.unit;
  record.price = choice.price;
  record.budget = request.budget;
  record.deadline_ns = request.deadline_ns;
  record.epoch = choice.epoch;
  record.score = choice.score;
  record.verifier_required =
      request.verifier_required || (choice.obligations & obligation_verifier) != 0;
  record.task_class = request.task_class;
  record.key.assign(request.key.begin(), request.key.end());
  record.body = prepared.body;
  const uint8_t cut = redactions(choice);
  if ((cut & redact_payload) == 0) record.payload = prepared.payload;
  const std::span<const LatentId> given =
      (cut & redact_latents) == 0 ? request.latents : std::span<const LatentId>();
  if (!given.empty())
    for (const LatentManifest& manifest : prepared.latents) record.latents.push_back({manifest});
  const std::span<const ReadLine> reads =
      given.empty() ? std::span<const ReadLine>() : prepared.reads;
  record.considered = choice.considered;
  record.rules = choice.rules;

  record.deadline_ns = deadline_of(request);

  if (label_flow(actor, choice.worker) != Outcome::ok)
    throw Error(ErrorCode::policy_denied, "dispatch",
                "by the flow of labels: untrusted words end after " +
                    std::to_string(untrusted_hops_max) + " hops",
                agents.id_at(actor));
  const uint32_t index = tasks.count();
  hold_latents(index, choice.worker, given);  // may throw: then nothing happened
  try {
    const bool plain = request.plain() && choice.rates.empty() && choice.approval.empty();
    receipt_out.position = plain && reads.empty()
                               ? commit(actor, record)
                               : commit_tasked(actor, request, choice, reads, std::move(record));
  } catch (...) {
    drop_latents(index);
    throw;
  }
  const bool waits = !request.approval.empty() || !choice.approval.empty();
  receipt_out.outcome = waits ? Outcome::pending : Outcome::ok;
  receipt_out.reason = choice.reason;
  receipt_out.task = tasks.id_at(index);
  receipt_out.agent = agents.id_at(choice.worker);
  receipt_out.offer = choice.offer;
  receipt_out.version = choice.version;
  receipt_out.score = choice.score;
  receipt_out.price = choice.price;
  receipt_out.reserved = request.budget;
  receipt_out.epoch = choice.epoch;
  prepared.done = true;
}

namespace {

Choice refusal(Outcome outcome, std::string reason, uint64_t epoch, bool recorded = true) {
  Choice choice;
  choice.outcome = outcome;
  choice.reason = std::move(reason);
  choice.epoch = epoch;
  choice.recorded = recorded;
  return choice;
}

}  // namespace

// Whether the requester may spend that much, before any candidate is looked at.
static Choice check_money(const Kernel::Inner& in, uint32_t actor,
                          const Kernel::Inner::Prepared& prepared, u128 already) {
  const DispatchRequest& request = *prepared.request;
  if (request.unit >= in.ledger.unit_count())
    return refusal(Outcome::invalid, "no such unit", in.epoch, false);
  if (request.deadline_ns != 0 &&
      request.deadline_ns <= std::max(in.last_time_ns, in.clock->now_ns()))
    return refusal(Outcome::expired, "the deadline has passed", in.epoch, false);
  if (request.budget > in.agents.budget_max(actor))
    return refusal(Outcome::budget_exceeded,
                   "budget " + std::to_string(request.budget) + " where the agent may spend " +
                       std::to_string(in.agents.budget_max(actor)),
                   in.epoch);
  if (prepared.reads_amount > request.budget)
    return refusal(Outcome::budget_exceeded,
                   "reading its latents costs " + std::to_string(prepared.reads_amount) +
                       " where the budget is " + std::to_string(request.budget),
                   in.epoch);
  const auto total = uint64_t(std::min<u128>(already + request.budget, UINT64_MAX));
  const TransferOutcome room = in.ledger.check_hold(actor, total, request.unit);
  if (room == TransferOutcome::exceeds_budget)
    return refusal(Outcome::budget_exceeded,
                   "budget " + std::to_string(request.budget) + " passes the budget of agent " +
                       std::to_string(in.agents.id_at(
                           in.ledger.budgets().check(actor, 0, request.unit, total))),
                   in.epoch);
  if (room != TransferOutcome::ok)
    return refusal(Outcome::insufficient_funds,
                   "budget " + std::to_string(request.budget) + " where " +
                       std::to_string(in.ledger.available(actor, request.unit)) + " is available",
                   in.epoch);
  return refusal(Outcome::ok, "", in.epoch, false);
}

// False: look for more candidates and come again.
bool Kernel::Inner::place(uint32_t actor, Prepared& prepared, const Candidates& candidates,
                          bool last_round, Receipt& receipt_out) {
  if (replayed(actor, prepared, receipt_out)) return true;
  const DispatchRequest& request = *prepared.request;
  tasks.check_class(request.task_class);
  check_more(actor, request);
  Choice choice = check_money(*this, actor, prepared, 0);
  // The worker's price must fit beside what reading costs.
  if (choice.outcome == Outcome::ok)
    choice = choose(actor, request, candidates, request.budget - prepared.reads_amount,
                    Action::dispatch, last_round, nullptr);
  if (choice.retry) return false;
  if (choice.asked) remember(choice.question, choice.decision);
  if (choice.outcome == Outcome::ok) oblige(actor, choice, nullptr);
  if (choice.outcome == Outcome::ok) {
    commit_dispatch(actor, prepared, choice, receipt_out);
    return true;
  }
  receipt_out.outcome = choice.outcome;
  receipt_out.epoch = choice.epoch;
  receipt_out.reason = choice.reason;
  DispatchRequest event = request;
  // What may pass later leaves its key unused.
  if (choice.outcome == Outcome::rate_limited) event.key = {};
  if (choice.recorded) receipt_out.position = record_refusal(actor, event, prepared.body, choice);
  prepared.done = true;
  return true;
}

void Kernel::Inner::abort_batch(uint32_t actor, size_t at, const DispatchRequest& request,
                                const Choice& choice, std::span<Receipt> receipts_out) {
  for (Receipt& other : receipts_out) {
    other = Receipt{};
    other.outcome = Outcome::aborted;
    other.durability = durability;
    other.reason = "element " + std::to_string(at) + " failed";
  }
  Receipt& receipt = receipts_out[at];
  receipt.outcome = choice.outcome;
  receipt.reason = choice.reason;
  // One denial event for the batch; no key of it is used up.
  DispatchRequest unkeyed = request;
  unkeyed.key = {};
  if (choice.recorded) receipt.position = record_refusal(actor, unkeyed, {}, choice);
}

// All or none: everything is chosen against what the batch itself has taken, then committed.
void Kernel::Inner::place_atomic(uint32_t actor, std::vector<Prepared>& prepared,
                                 const std::vector<Candidates>& candidates,
                                 std::span<Receipt> receipts_out) {
  for (size_t i = 0; i < prepared.size(); ++i)
    if (prepared[i].done)
      return abort_batch(actor, i, *prepared[i].request,
                         refusal(prepared[i].outcome, "", epoch, false), receipts_out);
  Tentative tentative;
  std::vector<Choice> choices(prepared.size());
  for (size_t i = 0; i < prepared.size(); ++i) {
    const DispatchRequest& request = *prepared[i].request;
    Receipt& receipt = receipts_out[i];
    Choice& choice = choices[i];
    const std::string key(request.key.begin(), request.key.end());
    check_more(actor, request);
    if (replayed(actor, prepared[i], receipt)) {
      if (receipt.outcome == Outcome::replayed) continue;
      choice = refusal(receipt.outcome, receipt.reason, epoch, false);
    } else if (!key.empty() && !tentative.keys.insert(key).second) {
      choice = refusal(Outcome::conflict, "the key stands twice in the batch", epoch, false);
    } else {
      choice = check_money(*this, actor, prepared[i], tentative.reserved);
      if (choice.outcome == Outcome::ok)
        choice = choose(actor, request, candidates[i], request.budget - prepared[i].reads_amount,
                        Action::dispatch, true, &tentative);
      if (choice.outcome == Outcome::ok) oblige(actor, choice, &tentative);
      // Said before anything of the batch is placed.
      if (choice.outcome == Outcome::ok && label_ends(actor, choice.worker))
        choice = refusal(Outcome::denied, "by the flow of labels", epoch, false);
    }
    if (choice.outcome != Outcome::ok) return abort_batch(actor, i, request, choice, receipts_out);
    tentative.reserved += request.budget;
    if (choice.row != index_none) ++tentative.slots[uint64_t(choice.space) << 32 | choice.row];
  }
  for (size_t i = 0; i < prepared.size(); ++i)
    if (!prepared[i].done) commit_dispatch(actor, prepared[i], choices[i], receipts_out[i]);
}

void Kernel::Inner::dispatch_all(AgentId actor, std::span<const DispatchRequest> requests,
                                 std::span<Receipt> receipts_out, bool atomic, bool single,
                                 bool wait_for_disk) {
  check_open();
  std::vector<Prepared> prepared;
  prepare(actor, requests, single, prepared);
  for (size_t i = 0; i < requests.size(); ++i) {
    receipts_out[i] = Receipt{};
    receipts_out[i].durability = durability;
    receipts_out[i].outcome = prepared[i].outcome;
  }
  if (single || requests.size() >= 64) {
    std::lock_guard lock(writer);
    check_memory(requests.size() * 512, "tasks");
  }
  std::vector<const DispatchRequest*> wanted;
  std::vector<size_t> waiting;
  std::vector<Candidates> candidates;
  for (size_t i = 0; i < requests.size(); ++i)
    if (atomic || !prepared[i].done) waiting.push_back(i);
  for (uint32_t round = 0; round < search_rounds && !waiting.empty(); ++round) {
    wanted.clear();
    bool search = false, invalid = false;
    for (const size_t i : waiting) {
      wanted.push_back(&requests[i]);
      search |= requests[i].to == id_none;
      invalid |= prepared[i].done;
    }
    // An atomic batch with an invalid element fails whatever is found, and can't be searched for.
    if (search && !invalid) {
      expire_before_search();
      find_candidates(index_of(actor), wanted, round, candidates);
    } else {
      candidates.assign(wanted.size(), {});
    }
    std::lock_guard lock(writer);
    begin();
    const uint32_t me = acting(actor);
    if (atomic) {
      place_atomic(me, prepared, candidates, receipts_out);
      break;
    }
    std::vector<size_t> again;
    for (size_t j = 0; j < waiting.size(); ++j) {
      const size_t i = waiting[j];
      try {
        if (!place(me, prepared[i], candidates[j], round + 1 == search_rounds, receipts_out[i]))
          again.push_back(i);
      } catch (const Error& error) {
        // What was placed stands, and one bad element never aborts the others; what stops the
        // kernel stops the batch.
        const ErrorKind kind = error_code_info(error.code()).kind;
        const bool stops = kind == ErrorKind::internal || error.code() == ErrorCode::poisoned ||
                           error.code() == ErrorCode::storage_failed;
        if (single || stops) throw;
        receipts_out[i].outcome = outcome_of(error);
        receipts_out[i].reason = error.what();
      }
    }
    waiting = std::move(again);
  }
  if (!wait_for_disk) return;
  // A stored receipt waits too: its record may still be on the way to the disk.
  Position last = position_none;
  for (const Receipt& receipt : receipts_out)
    if (receipt.position != position_none && (last == position_none || receipt.position > last))
      last = receipt.position;
  if (last != position_none) wait(last);
}

Receipt Kernel::dispatch(AgentId actor, const DispatchRequest& request) {
  Receipt receipt;
  inner_->dispatch_all(actor, {&request, 1}, {&receipt, 1}, false, true, true);
  return receipt;
}

Receipt Kernel::dispatch_begin(AgentId actor, const DispatchRequest& request) {
  Receipt receipt;
  inner_->dispatch_all(actor, {&request, 1}, {&receipt, 1}, false, true, false);
  return receipt;
}

void Kernel::dispatch_many(AgentId actor, std::span<const DispatchRequest> requests,
                           std::span<Receipt> receipts_out, bool atomic) {
  if (receipts_out.size() != requests.size())
    throw Error(ErrorCode::bad_array, "receipts_out", receipts_out.size(), requests.size());
  inner_->dispatch_all(actor, requests, receipts_out, atomic, false, true);
}

Receipt Kernel::lookup(AgentId actor, Bytes key) const {
  Inner& in = *inner_;
  Receipt receipt;
  {
    std::lock_guard lock(in.writer);
    in.check_open();
    const KeyedResult* keyed = in.tasks.keyed(in.agents.index_checked(actor), key);
    if (keyed == nullptr) throw Error(ErrorCode::unknown_task, "key", "was not used");
    receipt = in.receipt_of(*keyed);
  }
  in.wait(receipt.position);
  return receipt;
}

}  // namespace hanse
