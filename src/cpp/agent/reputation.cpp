#include "agent/reputation.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/view.hpp"

namespace hanse {

namespace {

__extension__ using wide = unsigned __int128;

// 2^-(1/2), 2^-(1/4) … 2^-(1/65536), in units of 2^-32.
constexpr uint64_t roots[16] = {
    3037000500, 3611622603, 3938502376, 4112874773, 4202935003, 4248701965, 4271771996, 4283353945,
    4289156690, 4292061010, 4293513907, 4294240540, 4294603903, 4294785595, 4294876445, 4294921870};

}  // namespace

uint64_t decayed(uint64_t count, uint64_t elapsed_ns, uint64_t half_life_ns) {
  if (half_life_ns == 0 || elapsed_ns == 0) return count;
  const uint64_t halves = elapsed_ns / half_life_ns;
  if (halves >= 64) return 0;
  count >>= halves;
  const auto fraction = uint32_t((wide(elapsed_ns % half_life_ns) << 16) / half_life_ns);
  for (uint32_t digit = 0; digit < 16; ++digit)
    if ((fraction >> (15 - digit) & 1) != 0) count = uint64_t(wide(count) * roots[digit] >> 32);
  return count;
}

void ReputationTable::apply_terms(const ReputationTerms& terms) {
  terms_ = terms;
  hashed_ = true;
}

void ReputationTable::fade(Standing& standing, uint64_t now_ns) const {
  if (now_ns <= standing.at_ns || terms_.half_life_ns == 0) return;
  const uint64_t elapsed = now_ns - standing.at_ns;
  standing.success = decayed(standing.success, elapsed, terms_.half_life_ns);
  standing.failure = decayed(standing.failure, elapsed, terms_.half_life_ns);
  standing.at_ns = now_ns;
}

void ReputationTable::apply_verdict(const Verdict& verdict) {
  if (counted_.size() <= verdict.task) counted_.resize(size_t(verdict.task) + 1);
  Counted& counted = counted_[verdict.task];
  counted = {};
  counted.at_ns = verdict.time_ns;
  counted.worker = verdict.worker;
  counted.task_class = verdict.task_class;
  counted.success = verdict.success;
  counted.self_dealing = verdict.requester_party == verdict.worker_party;
  if (counted.self_dealing) return;
  const uint64_t there = uint64_t(verdict.requester_party) << 32 | verdict.worker_party;
  const uint64_t back = uint64_t(verdict.worker_party) << 32 | verdict.requester_party;
  pairs_.insert(there);
  uint64_t weight = verdict_weight;
  if (pairs_.contains(back) && terms_.fee_per_verdict != 0)
    weight = uint64_t(
        std::min<wide>(weight, wide(verdict.house_fee) * verdict_weight / terms_.fee_per_verdict));
  counted.weight = uint32_t(weight);
  if (weight == 0) return;
  Standing& standing = standings_[key(verdict.worker, verdict.task_class)];
  fade(standing, verdict.time_ns);
  standing.at_ns = verdict.time_ns;
  (verdict.success ? standing.success : standing.failure) += weight;
  ++(verdict.success ? standing.accepted : standing.rejected);
}

void ReputationTable::check_rating(uint32_t task, TaskId id) const {
  if (task >= counted_.size() || counted_[task].worker == index_none)
    throw Error(ErrorCode::no_receipt, "task", "there is no verdict on it", id);
  if (counted_[task].self_dealing)
    throw Error(ErrorCode::self_dealing, "task", "requester and worker are one party", id);
  if (counted_[task].rated) throw Error(ErrorCode::already_rated, "task", "was rated before", id);
}

void ReputationTable::apply_rating(uint32_t task, bool success, uint64_t time_ns) {
  Counted& counted = counted_[task];
  counted.rated = true;
  ratings_.emplace_back(task, success);
  if (success == counted.success || counted.weight == 0) return;
  Standing& standing = standings_[key(counted.worker, counted.task_class)];
  fade(standing, time_ns);
  standing.at_ns = time_ns;
  const uint64_t left =
      decayed(counted.weight, time_ns - std::min(time_ns, counted.at_ns), terms_.half_life_ns);
  uint64_t& from = counted.success ? standing.success : standing.failure;
  uint64_t& to = counted.success ? standing.failure : standing.success;
  // Rounding may have left less of it than was put in.
  const uint64_t moved = std::min(from, left);
  from -= moved;
  to += moved;
  --(counted.success ? standing.accepted : standing.rejected);
  ++(counted.success ? standing.rejected : standing.accepted);
  counted.success = success;
}

void ReputationTable::apply_imported(uint32_t worker, uint16_t task_class,
                                     const Standing& imported) {
  standings_[key(worker, task_class)] = imported;
  hashed_ = true;
}

Standing ReputationTable::standing(uint32_t worker, uint16_t task_class, uint64_t now_ns) const {
  const auto found = standings_.find(key(worker, task_class));
  Standing standing = found == standings_.end() ? Standing{} : found->second;
  fade(standing, now_ns);
  return standing;
}

std::vector<std::pair<uint16_t, Standing>> ReputationTable::standings(uint32_t worker,
                                                                      uint64_t now_ns) const {
  std::vector<std::pair<uint16_t, Standing>> found;
  for (auto at = standings_.lower_bound(key(worker, 0));
       at != standings_.end() && at->first >> 16 == worker; ++at) {
    found.emplace_back(uint16_t(at->first), at->second);
    fade(found.back().second, now_ns);
  }
  return found;
}

void ReputationTable::check_role(const Role& wanted) const {
  if (wanted.name.empty()) throw Error(ErrorCode::empty, "name", "a role has a name");
  if (wanted.name.size() > role_name_size_max)
    throw Error(ErrorCode::too_large, "name", wanted.name.size(), role_name_size_max);
  if (wanted.mean_min > 1'000'000)
    throw Error(ErrorCode::out_of_range, "mean", wanted.mean_min, 1'000'000);
  if (roles_.size() >= role_count_max && role(wanted.name) == nullptr)
    throw Error(ErrorCode::quota_exceeded, "role", roles_.size() + 1, role_count_max);
}

void ReputationTable::apply_role(const Role& wanted) {
  for (Role& known : roles_)
    if (known.name == wanted.name) {
      known = wanted;
      return;
    }
  roles_.push_back(wanted);
}

const Role* ReputationTable::role(std::string_view name) const {
  for (const Role& known : roles_)
    if (known.name == name) return &known;
  return nullptr;
}

Digest ReputationTable::state_hash() const {
  ByteWriter writer;
  writer.put(terms_.half_life_ns), writer.put(terms_.fee_per_verdict);
  writer.put(uint32_t(ratings_.size()));
  for (const auto& [task, success] : ratings_) writer.put(task), writer.put(uint8_t(success));
  for (const auto& [at, standing] : standings_) {
    writer.put(at), writer.put(standing.success), writer.put(standing.failure);
    writer.put(standing.accepted), writer.put(standing.rejected), writer.put(standing.at_ns);
  }
  writer.put(uint32_t(roles_.size()));
  for (const Role& role : roles_) {
    writer.put_text(role.name), writer.put_text(role.task_class);
    writer.put(role.mean_min), writer.put(role.weight_min), writer.put(role.permissions);
  }
  return sha256(writer.bytes());
}

uint64_t ReputationTable::memory_bytes() const {
  constexpr uint64_t tree_node_overhead = 32;  // of std::map: three pointers and a colour
  return standings_.size() * (tree_node_overhead + sizeof(std::pair<uint64_t, Standing>)) +
         counted_.capacity() * sizeof(Counted) + pairs_.size() * 40 +
         ratings_.capacity() * sizeof(std::pair<uint32_t, bool>) + roles_.capacity() * sizeof(Role);
}

}  // namespace hanse
