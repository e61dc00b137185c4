// Where untrusted data may have come, and what it can't cause.
//
// A label belongs to an agent, since what an agent says may hold anything that it was told: whoever
// hears an agent whose words are untrusted is untrusted, one hop further (M2 of the threat model;
// compare CaMeL, arXiv 2503.18813). Hops only grow, so a message that is passed on verbatim ends:
// at `untrusted_hops_max` an agent is no longer heard, until someone above it trusts it again.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

void Kernel::Inner::apply(const Envelope&, Position, LabelChangedRecord& record) {
  std::vector<uint8_t>& distances = governance.distances;
  if (distances.size() <= record.agent) distances.resize(record.agent + size_t(1), label_trusted);
  distances[record.agent] = record.distance;
  if (record.distance == 0) governance.sources.insert(record.agent);
  if (record.distance == label_trusted) governance.sources.erase(record.agent);
  any_untrusted.store(std::ranges::any_of(distances, [](uint8_t d) { return d != label_trusted; }),
                      std::memory_order_relaxed);
}

uint8_t Kernel::Inner::distance_of(uint32_t agent) const {
  return agent < governance.distances.size() ? governance.distances[agent] : label_trusted;
}

// What an agent says is at the limit of hops.
bool Kernel::Inner::label_ends(uint32_t from, uint32_t to) const {
  const uint8_t distance = distance_of(from);
  return distance != label_trusted && distance >= untrusted_hops_max && from != to;
}

// What `from` says reaches `to`: denied at the limit of hops. The mutex is held. The root stays
// trusted, whatever it hears: nobody could trust it again, and no rule could be changed any more.
Outcome Kernel::Inner::label_flow(uint32_t from, uint32_t to) {
  const uint8_t distance = distance_of(from);
  if (distance == label_trusted || from == to) return Outcome::ok;
  if (distance >= untrusted_hops_max || options.read_only) return Outcome::denied;
  if (to == 0) return Outcome::ok;
  const auto next = uint8_t(distance + 1);
  const uint8_t now = distance_of(to);
  if ((now != label_trusted && now >= next) || governance.sources.contains(to)) return Outcome::ok;
  LabelChangedRecord record{to, from, next};
  commit(from, record);
  return Outcome::ok;
}

bool Kernel::Inner::label_forbids(uint32_t actor, Action action) const {
  if (distance_of(actor) == label_trusted) return false;
  switch (action) {
    case Action::transfer:
    case Action::fund:
    case Action::add_agent:
    case Action::load_policy:
    case Action::learn:
      return true;
    default:
      return false;
  }
}

// Distrust: whoever is the agent or above it. Trust again: someone above it who is trusted.
Position Kernel::set_trusted(AgentId actor, AgentId agent, bool trusted) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent);
    if (target == 0)
      throw Error(ErrorCode::not_permitted, "agent", "no one could trust the root again", agent);
    if (trusted && (me == target || in.distance_of(me) != label_trusted))
      throw Error(ErrorCode::not_permitted, "agent", "is trusted again by one above it, who is",
                  agent);
    LabelChangedRecord record{target, me, trusted ? label_trusted : uint8_t(0)};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

std::optional<uint8_t> Kernel::untrusted_hops(AgentId actor, AgentId agent) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint8_t distance = in.distance_of(in.visible(in.agents.index_checked(actor), agent));
  if (distance == label_trusted) return std::nullopt;
  return distance;
}

}  // namespace hanse
