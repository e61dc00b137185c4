// What can be set of one box, and what it says of itself.
#include <algorithm>

#include "mailbox/state.hpp"

namespace hanse {

void MailboxTable::set_paused(AgentId agent, bool paused) {
  State& state = *state_;
  state.require(agent);
  state.own();
  Box& box = state.box(index_of(agent));
  state.leave_log(index_of(agent));
  if (paused) {
    box.flags |= Box::paused;
    return;
  }
  box.flags &= uint16_t(~Box::paused);
  if (box.has_messages()) state.make_ready(box, index_of(agent));
}

bool MailboxTable::paused(AgentId agent) const {
  state_->require(agent);
  state_->require_owner();
  const uint32_t index = index_of(agent);
  return index < state_->boxes.size() && (state_->boxes[index].flags & Box::paused) != 0;
}

void MailboxTable::set_box(AgentId agent, const BoxOptions& options) {
  if (uint8_t(options.policy) > uint8_t(BoxPolicy::coalesce))
    throw Error(ErrorCode::out_of_range, "policy", uint8_t(options.policy),
                uint8_t(BoxPolicy::coalesce));
  if (options.capacity_messages > 1u << 30)
    throw Error(ErrorCode::out_of_range, "capacity_messages", options.capacity_messages, 1u << 30);
  State& state = *state_;
  state.require(agent);
  state.own();
  Box& box = state.box(index_of(agent));
  const bool plain = options.policy == BoxPolicy::reject && options.capacity_messages == 0;
  if (plain && box.extra == 0) return;
  state.leave_log(index_of(agent));
  BoxExtra& more = state.extra(box);
  if (options.policy != BoxPolicy::coalesce && more.keys)
    state.forget_keys(box);
  else if (options.policy == BoxPolicy::coalesce && !more.keys)
    more.keys = std::make_unique<HashMap>();
  if (options.policy != BoxPolicy::credit && (box.flags & Box::owed)) {
    box.flags &= uint16_t(~Box::owed);
    state.credited.push_back(make_id(index_of(agent), 1));
  }
  more.options = options;
  if (plain)
    box.flags &= uint16_t(~Box::ruled);
  else
    box.flags |= Box::ruled;
}

// The messages stay, each on its own again.
void MailboxTable::State::forget_keys(Box& box) {
  BoxExtra& more = *extras[box.extra];
  for (uint8_t lane = 0; lane < lane_count; ++lane) {
    const LaneQueue& from = queue(box, lane);
    uint32_t number = from.head;
    for (uint32_t i = 0; i < from.count; ++i, number = links[number])
      slab[number].flags &= uint8_t(~Slot::keyed);
  }
  more.keys.reset();
}

BoxOptions MailboxTable::box_options(AgentId agent) const {
  state_->require(agent);
  state_->require_owner();
  const uint32_t index = index_of(agent);
  if (index >= state_->boxes.size() || state_->boxes[index].extra == 0) return {};
  return state_->extras[state_->boxes[index].extra]->options;
}

void MailboxTable::take_credited(std::vector<AgentId>& agents_out) {
  State& state = *state_;
  state.require_owner();
  state.credit_starved();
  agents_out.insert(agents_out.end(), state.credited.begin(), state.credited.end());
  state.credited.clear();
}

void MailboxTable::set_group(AgentId agent, uint32_t group) {
  State& state = *state_;
  state.require(agent);
  state.own();
  Box& box = state.box(index_of(agent));
  if (state.group_keys[box.group] == group) return;
  if (group == 0) {
    box.group = 0;
    return;
  }
  const auto [found, added] =
      state.group_numbers.try_emplace(group, uint32_t(state.group_keys.size()));
  if (added) state.group_keys.push_back(group);
  box.group = found->second;
}

uint32_t MailboxTable::group(AgentId agent) const {
  state_->require(agent);
  state_->require_owner();
  const uint32_t index = index_of(agent);
  return index < state_->boxes.size() ? state_->group_keys[state_->boxes[index].group] : 0;
}

void MailboxTable::close_box(AgentId agent, Outcome reason) {
  if (reason == Outcome::ok) throw Error(ErrorCode::out_of_range, "reason", "ok is none");
  State& state = *state_;
  state.require(agent);
  if (owner_.caller()) {
    state.settle();
    state.close(index_of(agent), reason);
    return;
  }
  const std::lock_guard lock(state.closes_mutex);
  state.closes.emplace_back(index_of(agent), reason);
  state.closes_pending.store(true, std::memory_order_release);
}

void MailboxTable::close_all(Outcome reason) {
  if (reason == Outcome::ok) throw Error(ErrorCode::out_of_range, "reason", "ok is none");
  State& state = *state_;
  state.own();
  state.grow();
  state.settle();
  for (uint32_t i = 0; i < state.boxes.size(); ++i)
    if (!(state.boxes[i].flags & Box::closed)) state.close(i, reason);
}

uint32_t MailboxTable::queued(AgentId agent) const {
  state_->require(agent);
  state_->require_owner();
  const uint32_t index = index_of(agent);
  return index < state_->boxes.size()
             ? state_->queued(state_->boxes[index]) + state_->bulk.log.count_of(index)
             : 0;
}

uint32_t MailboxTable::queued(AgentId agent, uint8_t lane) const {
  if (lane >= lane_count) throw Error(ErrorCode::out_of_range, "lane", lane, lane_count - 1);
  state_->require(agent);
  state_->require_owner();
  const uint32_t index = index_of(agent);
  if (index >= state_->boxes.size()) return 0;
  const Box& box = state_->boxes[index];
  if (lane == 0) return box.count + state_->bulk.log.count_of(index);
  return box.extra == 0 ? 0 : state_->extras[box.extra]->lanes[lane - 1].count;
}

}  // namespace hanse
