// Agents, offers, rules, time.
#include "simulation/model.hpp"

#include <algorithm>
#include <cmath>

namespace hanse::simulation {

#define PERMIT "permit(principal, action, resource);\n"
const std::array<const char*, policy_count> policy_texts = {
    PERMIT,
    PERMIT
    "forbid(principal, action == Action::\"dispatch\", resource)"
    " when { resource.price > 20 };\n"
    "forbid(principal, action == Action::\"escalate\", resource)"
    " when { resource.price > 20 };",
    PERMIT
    "forbid(principal, action == Action::\"transfer\", resource)"
    " when { context.amount > 40 };",
    PERMIT
    "forbid(principal, action == Action::\"accept\", resource)"
    " when { context.verified == 0 };",
};
#undef PERMIT
const char* const policy_schema =
    "resource.price: Long; context.amount: Long; context.verified: Long;";

const std::array<const char*, size_t(LessonText::count_)> lesson_texts = {
    "",
    "forbid(principal, action in [Action::\"dispatch\", Action::\"escalate\"], resource)"
    " when { resource.price > 30 };",
    "forbid(principal, action == Action::\"transfer\", resource) when { context.amount > 60 };",
    "permit(principal, action, resource);",
    "forbid(principal, action, resource) when { 1 == 2 };"
    "forbid(principal, action, resource) when { 1 == 2 };",
    "forbid(principal, action == Action::\"load_policy\", resource);",
};

Model::Model(uint64_t now_ns, uint32_t fee) : now(now_ns), fee_basis_points(fee) {
  agents.push_back({.kind = AgentKind::group});
  purses.emplace_back();
  offers.emplace_back();
  for (auto* house : {&fees, &usage, &escrow, &issuance})
    for (Purse& purse : *house) purse.there = true, purse.debits_limited = false;
  commit();  // the genesis record
}

uint64_t Model::commit() {
  last_ns = std::max(last_ns + 1, now);
  if (++count == stop_at) throw StoppedAtCount{};
  return count - 1;
}

// --- who is who

bool Model::live(uint32_t agent) const {
  for (; agent != index_none; agent = agents[agent].parent)
    if (agents[agent].revoked || agents[agent].paused) return false;
  return true;
}

bool Model::revoked(uint32_t agent) const {
  for (; agent != index_none; agent = agents[agent].parent)
    if (agents[agent].revoked) return true;
  return false;
}

bool Model::within(uint32_t agent, uint32_t ancestor) const {
  for (; agent != index_none; agent = agents[agent].parent)
    if (agent == ancestor) return true;
  return false;
}

uint32_t Model::tenant(uint32_t agent) const {
  while (agent != 0 && agents[agent].parent != 0) agent = agents[agent].parent;
  return agents[agent].kind == AgentKind::group ? agent : 0;
}

bool Model::same_view(uint32_t actor, uint32_t other) const {
  return actor == 0 || other == 0 || tenant(actor) == tenant(other);
}

uint32_t Model::acting(uint32_t actor) const {
  if (actor >= agents.size()) throw Refused{ErrorCode::unknown_agent};
  if (revoked(actor)) throw Refused{ErrorCode::revoked};
  if (!live(actor)) throw Refused{ErrorCode::paused};
  return actor;
}

uint32_t Model::require_within(uint32_t actor, uint32_t target) const {
  if (target >= agents.size() || !same_view(actor, target)) throw Refused{ErrorCode::unknown_agent};
  if (!within(target, actor)) throw Refused{ErrorCode::not_permitted};
  return target;
}

Answer Model::add(uint32_t actor, uint32_t parent, uint32_t added, AgentKind kind) {
  expire();
  require_within(acting(actor), parent);
  if (!live(parent)) throw Refused{ErrorCode::revoked};
  if (depth(parent) >= 16) throw Refused{ErrorCode::delegation_depth};
  if (labelled(actor)) deny(actor);
  Answer answer;
  for (uint32_t i = 0; i < added; ++i) {
    answer.values.push_back(agents.size());
    Party party{.parent = parent, .kind = kind};
    party.permissions = agents[parent].permissions;
    party.budget_max = agents[parent].budget_max;
    agents.push_back(party);
    purses.emplace_back();
    offers.emplace_back();
  }
  commit();
  return answer;
}

// What those about to be revoked had reserved, then what they own, goes to who is above.
void Model::reclaim(uint32_t actor, uint32_t target) {
  uint32_t to = agents[target].parent;
  while (to != 0 && revoked(to)) to = agents[to].parent;
  bool some = false;
  for (Job& job : jobs) {
    if (job.settled() || !within(job.requester, target)) continue;
    end_job(job, TaskState::voided, HoldState::voided);
    some = true;
  }
  if (some) commit();
  std::vector<std::pair<Transfer, Moved>> lines;
  for (uint32_t owner = 0; owner < agents.size(); ++owner)
    for (UnitId unit = 0; unit < unit_count; ++unit) {
      if (!within(owner, target) || !purses[owner][unit].there) continue;
      const Wide left = available(owner, unit);
      if (left <= 0) continue;
      Transfer transfer;
      transfer.unit = unit;
      transfer.debit = make_id(owner, 1);
      transfer.credit = make_id(to, 1);
      transfer.amount = uint64_t(left);
      const Moved moved = judge_transfer(actor, transfer);
      if (moved.outcome == TransferOutcome::ok) lines.emplace_back(transfer, moved);
    }
  for (auto& [transfer, moved] : lines) do_transfer(actor, transfer, moved);
  if (!lines.empty()) commit();
}

bool Model::busy(uint32_t actor, uint64_t budget) const {
  for (uint32_t agent = 0; agent < offers.size(); ++agent) {
    const Offering& offer = offers[agent];
    if (offer.found && offer.full() && agent != actor && uint64_t(offer.price) <= budget &&
        live(agent))
      return true;
  }
  return false;
}

Answer Model::revoke(uint32_t actor, uint32_t agent) {
  expire();
  acting(actor);
  require_within(actor, agent);
  if (agent == 0) throw Refused{ErrorCode::not_permitted};
  reclaim(actor, agent);
  agents[agent].revoked = true;
  for (auto& [owner, box] : boxes)
    while (revoked(owner) && !box.queue.empty()) bury(box, 0, Outcome::revoked);
  std::erase_if(mail, [this](const auto& box) { return revoked(box.first); });
  return {0, {commit()}};
}

// --- offers

Answer Model::create_space() {
  expire();
  const uint64_t number = spaces++;
  commit();
  return {0, {number}};
}

Answer Model::publish(uint32_t agent, const Offering& offer) {
  expire();
  acting(agent);
  Offering& mine = offers[agent];
  mine.angle = offer.angle;
  mine.price = offer.price;
  mine.tier = offer.tier;
  mine.slots = offer.slots;
  mine.found = true;
  ++mine.version;
  commit();
  return {0, {mine.version}};
}

Answer Model::withdraw(uint32_t agent) {
  expire();
  acting(agent);
  if (!offers[agent].found) throw Refused{ErrorCode::unknown_offer};
  offers[agent].found = false;
  return {0, {commit()}};
}

Answer Model::load_policy(uint32_t number) {
  expire();
  policy = number;
  ++epoch;
  commit();
  return {0, {epoch}};
}

bool Model::permits(Action action, uint64_t price, uint64_t amount, bool verified) const {
  for (const StandingLesson& lesson : lessons) {
    if (lesson.repealed) continue;
    const bool work = action == Action::dispatch || action == Action::escalate;
    if (lesson.text == LessonText::dear_work && work && price > 30) return false;
    if (lesson.text == LessonText::large_transfers && action == Action::transfer && amount > 60)
      return false;
  }
  if (policy == 1 && (action == Action::dispatch || action == Action::escalate)) return price <= 20;
  if (policy == 2 && action == Action::transfer) return amount <= 40;
  if (policy == 3 && action == Action::accept) return verified;
  return true;
}

// Directions are hundredths of a radian; nearer ones have the larger cosine. Queries lie at three
// tenths of a step, so no two offers are equally far.
std::vector<uint32_t> Model::feasible(uint32_t not_this, uint32_t angle, int64_t price_max) const {
  std::vector<std::pair<double, uint32_t>> found;
  for (uint32_t agent = 0; agent < offers.size(); ++agent) {
    const Offering& offer = offers[agent];
    if (!offer.found || agent == not_this || offer.price > price_max || offer.full() ||
        !live(agent))
      continue;
    const double turn = std::abs(double(offer.angle) - (angle + 0.3)) / 100;
    found.emplace_back(std::min(turn, 2 * M_PI - turn), agent);
  }
  std::sort(found.begin(), found.end());
  std::vector<uint32_t> agents_found;
  for (const auto& [distance, agent] : found) agents_found.push_back(agent);
  return agents_found;
}

// --- time and opening

uint64_t Model::expire() {
  std::vector<std::pair<uint64_t, size_t>> tasks, holds;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Job& job = jobs[i];
    const uint64_t due = job.state == TaskState::offered ? job.answer_by : job.deadline_ns;
    if (!job.settled() && due != 0 && due <= now) tasks.emplace_back(due, i);
  }
  for (size_t i = 0; i < promises.size(); ++i) {
    const Promise& promise = promises[i];
    if (promise.state == HoldState::open && promise.to != escrow_party && promise.expires_ns != 0 &&
        promise.expires_ns <= now)
      holds.emplace_back(promise.expires_ns, i);
  }
  constexpr size_t at_once = 256;
  std::sort(tasks.begin(), tasks.end());
  std::sort(holds.begin(), holds.end());
  tasks.resize(std::min(tasks.size(), at_once));
  holds.resize(std::min(holds.size(), at_once));
  for (const auto& [at, i] : tasks) end_job(jobs[i], TaskState::expired, HoldState::expired);
  for (const auto& [at, i] : holds) resolve(i + 1, HoldState::expired);
  if (!tasks.empty() || !holds.empty()) commit();
  std::vector<std::pair<uint64_t, size_t>> lapsed;
  for (size_t i = 0; i < jobs.size(); ++i)
    if (jobs[i].state == TaskState::running && jobs[i].lease_until != 0 &&
        jobs[i].lease_until <= now)
      lapsed.emplace_back(jobs[i].lease_until, i);
  std::sort(lapsed.begin(), lapsed.end());
  lapsed.resize(std::min(lapsed.size(), at_once));
  std::vector<size_t> silent;
  for (const auto& [until, i] : lapsed) silent.push_back(i);
  return_jobs(silent);
  return tasks.size() + holds.size() + silent.size();
}

void Model::reopen() {
  deliveries_.clear();
  mail.clear();
  refusal_rates_.clear();
  for (auto& [owner, box] : boxes)
    for (Letter& letter : box.queue) letter.handed = false;
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].delivered = 0;
    if (jobs[i].state != TaskState::dispatched && jobs[i].state != TaskState::running) continue;
    jobs[i].state = TaskState::dispatched;
    ++jobs[i].attempt;
    jobs[i].changed_at = count;
    deliveries_.push_back({i, jobs[i].attempt, count});
  }
  if (!deliveries_.empty()) commit();
  reopen_boxes();
}

Answer Model::send(uint32_t sender, uint32_t to, std::string text) {
  if (to >= agents.size()) return {0, {uint64_t(Outcome::unknown)}};
  if (revoked(sender) || revoked(to)) return {0, {uint64_t(Outcome::revoked)}};
  if (!live(sender) || !live(to)) return {0, {uint64_t(Outcome::paused)}};
  if (!label_flow(sender, to)) return {0, {uint64_t(Outcome::denied)}};
  if (mail[to].size() >= 1024) return {0, {uint64_t(Outcome::full)}};
  mail[to].push_back(std::move(text));
  return {0, {uint64_t(Outcome::ok)}};
}

HandedOut Model::drain(uint64_t durable) {
  HandedOut out_all;
  std::vector<Given>& given = out_all.given;
  size_t gone = 0;
  for (const auto& [task, attempt, position] : deliveries_) {
    if (position >= durable) break;
    ++gone;
    Job& job = jobs[task];
    if (job.state != TaskState::dispatched || job.attempt != attempt || job.delivered >= attempt ||
        !live(job.worker))
      continue;
    job.delivered = attempt;
    given.push_back({job.worker, task, attempt, false});
  }
  deliveries_.erase(deliveries_.begin(), deliveries_.begin() + ptrdiff_t(gone));
  for (auto& [owner, box] : boxes) {
    size_t out = 0;
    for (const Letter& letter : box.queue) out += letter.handed;
    for (Letter& letter : box.queue) {
      if (letter.handed || out >= box.options.in_flight_max) continue;
      if (letter.position >= durable) break;
      letter.handed = true;
      ++out;
      given.push_back({owner, letter.sequence, letter.attempt, true});
    }
  }
  std::sort(given.begin(), given.end());
  std::erase_if(mail, [](const auto& box) { return box.second.empty(); });
  out_all.mail = std::exchange(mail, {});
  return out_all;
}

}  // namespace hanse::simulation
