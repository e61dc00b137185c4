// Commands on capabilities: spaces, publish, withdraw, match.
#include "kernel/inner.hpp"
#include "kernel/publication.hpp"

namespace hanse {

uint32_t Kernel::create_space(AgentId actor, const SpaceSpec& spec) {
  Inner& in = *inner_;
  Position position;
  uint32_t space;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    in.capabilities.check_space(spec);
    in.require_policy(me, Action::publish, me);
    SpaceCreatedRecord record{spec.name, spec.model, spec.dim, spec.metric};
    space = in.capabilities.space_count();
    position = in.commit(me, record);
  }
  in.wait(position);
  return space;
}

uint32_t Kernel::space_find(std::string_view name) const {
  inner_->check_open();
  return inner_->capabilities.space_find(name);
}

uint32_t Kernel::space(std::string_view name) const {
  const uint32_t found = space_find(name);
  if (found == index_none) throw Error(ErrorCode::unknown_space, "space", name);
  return found;
}

SpaceSpec Kernel::space_spec(uint32_t space) const {
  inner_->check_open();
  if (space >= inner_->capabilities.space_count())
    throw Error(ErrorCode::unknown_space, "space", space, inner_->capabilities.space_count());
  return inner_->capabilities.space(space);
}

namespace {

template <class T>
Column<T> part(const Column<T>& column, size_t from, size_t count) {
  return column.values.size() == 1 ? column : Column<T>{column.values.subspan(from, count)};
}

Offers rows(const Offers& all, size_t from, size_t count) {
  Offers offers = all;
  offers.agents = all.agents.subspan(from, count);
  offers.vectors = {all.vectors.row(from), count, all.vectors.columns};
  offers.price = part(all.price, from, count);
  offers.tier = part(all.tier, from, count);
  offers.skills = part(all.skills, from, count);
  offers.region = part(all.region, from, count);
  offers.policy_bits = part(all.policy_bits, from, count);
  offers.slots = part(all.slots, from, count);
  return offers;
}

}  // namespace

// The writer's mutex is held. `store` is the kernel's own, or one alike. Fills in the indices that
// `offers` views; returns the actor's.
uint32_t Kernel::Inner::check_publication(AgentId actor, const PublishRequest& request,
                                          const CapabilityStore& store, uint32_t space,
                                          const Offers& offers, std::span<uint32_t> indices_out) {
  const uint32_t me = acting(actor);
  for (size_t i = 0; i < indices_out.size(); ++i) indices_out[i] = within(me, request.agents[i]);
  store.check_publish(space, offers, request.expected);
  check_memory(indices_out.size() * (offers.vectors.columns * sizeof(float) + 96), "offers");
  require_policy(me, Action::publish, indices_out[0]);
  return me;
}

// A large publish becomes several records, each with its own extent: everything is checked before
// the first, and a version counts only when the call returned.
void Kernel::publish(AgentId actor, const PublishRequest& request,
                     std::span<uint32_t> versions_out) {
  Inner& in = *inner_;
  in.check_open();
  const size_t count = request.agents.size();
  if (versions_out.size() != count)
    throw Error(ErrorCode::bad_array, "versions_out", versions_out.size(), count);
  if (count == 0) return;
  std::vector<uint32_t> indices(count);
  Offers offers = request.offers;
  offers.agents = indices;
  if (request.space == index_none && in.capabilities.space_find("default") == index_none) {
    // Checked against a space alike: a refusal leaves no empty one behind.
    const SpaceSpec spec{"default", uint32_t(offers.vectors.columns), Metric::cosine, ""};
    CapabilityStore alike;
    alike.check_space(spec);
    alike.apply_space(spec);
    {
      std::lock_guard lock(in.writer);
      in.begin();
      in.check_publication(actor, request, alike, 0, offers, indices);
    }
    create_space(actor, spec);
  }
  const uint32_t space = request.space == index_none ? this->space("default") : request.space;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    in.check_publication(actor, request, in.capabilities, space, offers, indices);
  }
  const auto make_record = [&](size_t from, ByteWriter& block) {
    const size_t part_count = std::min<size_t>(publish_rows_per_record, count - from);
    block.clear();
    encode_publication(
        rows(offers, from, part_count),
        request.expected.empty() ? request.expected : request.expected.subspan(from, part_count),
        block);
    return PublishedRecord{space, offers.offer, uint32_t(part_count), {}};
  };
  // The extents go to disk before the writer's mutex is taken. Large blocks are read back when
  // their turn comes, so that only one of them is in memory.
  std::vector<PublishedRecord> records;
  ByteWriter block;
  for (size_t from = 0; in.disk && from < count; from += publish_rows_per_record) {
    records.push_back(make_record(from, block));
    records.back().columns = in.make_bulk(block.bytes());
    if (count > publish_rows_per_record) records.back().columns.bytes = {};
  }
  Position position = 0;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    // The world may have moved while the extents were written.
    const uint32_t me =
        in.check_publication(actor, request, in.capabilities, space, offers, indices);
    for (PublishedRecord& record : records) position = in.commit(me, record);
    // In memory the store has the vectors already: nothing would ever read an extent.
    for (size_t from = 0; !in.disk && from < count; from += publish_rows_per_record) {
      PublishedRecord record = make_record(from, block);
      record.columns = in.name_bulk(block.bytes());
      position = in.commit(me, record);
    }
    for (size_t i = 0; i < count; ++i)
      versions_out[i] =
          in.capabilities.row(space, in.capabilities.row_find(space, indices[i], offers.offer))
              .version;
  }
  in.wait(position);
}

Position Kernel::withdraw(AgentId actor, AgentId agent, uint32_t offer, uint32_t space) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent);
    if (space >= in.capabilities.space_count())
      throw Error(ErrorCode::unknown_space, "space", space, in.capabilities.space_count());
    const uint32_t row = in.capabilities.row_find(space, target, offer);
    if (row == index_none || !in.capabilities.row(space, row).found)
      throw Error(ErrorCode::unknown_offer, "offer", std::to_string(offer), agent);
    in.require_policy(me, Action::publish, target);
    WithdrawnRecord record{space, row, target, offer};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

// Revocations since the last search reach the mask here; the mutex is held only when there are any.
void Kernel::Inner::refresh_live() {
  std::lock_guard lock(writer);
  if (capabilities.live_epoch() == agents.epoch()) return;
  capabilities.refresh_live(agents.epoch(), [this](uint32_t agent) { return agents.live(agent); });
}

void Kernel::match(AgentId actor, const MatchRequest& request, std::span<AgentId> agents_out,
                   std::span<uint32_t> offers_out, std::span<uint32_t> versions_out,
                   std::span<float> scores_out, std::span<int32_t> counts_out) {
  Inner& in = *inner_;
  in.check_open();
  space_spec(request.space);
  const size_t cells = request.queries.rows * request.options.k;
  for (const auto& [name, size] : {std::pair{"agents_out", agents_out.size()},
                                   {"offers_out", offers_out.size()},
                                   {"versions_out", versions_out.size()},
                                   {"scores_out", scores_out.size()}})
    if (size != cells) throw Error(ErrorCode::bad_array, name, size, cells);
  {
    std::lock_guard lock(in.writer);
    in.acting(actor);
  }
  in.refresh_live();
  std::vector<Match> matches(cells);
  in.capabilities.search(request.space, request.queries, request.feasible, request.options,
                         {matches.data(), request.queries.rows, request.options.k}, counts_out);
  for (size_t i = 0; i < cells; ++i) {
    const Match& match = matches[i];
    agents_out[i] = match.row == index_none ? id_none : make_id(match.agent, 1);
    offers_out[i] = match.offer;
    versions_out[i] = match.version;
    scores_out[i] = match.score;
  }
}

Refusals Kernel::explain_match(AgentId actor, uint32_t space, const Feasible& feasible) {
  inner_->check_open();
  space_spec(space);
  {
    std::lock_guard lock(inner_->writer);
    inner_->acting(actor);
  }
  inner_->refresh_live();
  return inner_->capabilities.explain(space, feasible);
}

}  // namespace hanse
