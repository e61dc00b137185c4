// The offers in a snapshot, row by row as they are stored.
#include <cmath>

#include "capability/space.hpp"

namespace hanse {

namespace {

template <class Coder, class Self>
void row_fields(Coder& coder, Self& a, bool& found, uint32_t& open) {
  coder(a.agent, a.offer, a.version, a.tenant, a.price, a.updated, a.reputation, a.skills,
        a.policy_bits, a.region, a.slots, a.tier, found, open);
}

Attributes attributes_of(const RowBlock& b, uint32_t i) {
  Attributes a;
  a.agent = b.agent[i], a.offer = b.offer[i], a.version = b.version[i], a.tenant = b.tenant[i];
  a.price = b.price[i], a.updated = b.updated[i], a.reputation = b.reputation[i];
  a.skills = b.skills[i], a.policy_bits = b.policy_bits[i];
  a.region = b.region[i], a.slots = b.slots[i], a.tier = b.tier[i];
  return a;
}

}  // namespace

void CapabilitySpace::restore(const Attributes& attributes, bool found, uint32_t open,
                              const uint8_t* stored) {
  const uint32_t row = append();
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  float* to = vector(row);
  std::memcpy(to, stored, spec.dim * sizeof(float));
  std::fill(to + spec.dim, to + stride, 0.0f);
  const double length =
      spec.metric == Metric::cosine ? 1 + 1e-6 : std::sqrt(exact_dot(to, to, spec.dim));
  if (length > norm_max()) norm_max_.store(length, std::memory_order_release);
  write_columns(b, i, attributes);
  if (found) {
    poke(b.flags[i], uint8_t(b.flags[i] | row_found));
    statistics.count_row(b, i, 1);
  }
  set_open(row, open);
  rows.add(attributes.agent, attributes.offer, row);
  hash.mark(row);
}

void CapabilityStore::encode(SnapshotWriter& out) const {
  out.table(space_count(), [&](size_t number, FieldWriter& fields) {
    const CapabilitySpace& s = at(uint32_t(number));
    const std::lock_guard lock(s.writer);
    fields(s.spec.name, s.spec.dim, s.spec.metric, s.spec.model, s.publish_count);
    out.table(s.row_count(), [&](size_t row, FieldWriter& cells) {
      const RowBlock& b = s.block(uint32_t(row));
      const uint32_t i = CapabilitySpace::slot(uint32_t(row));
      const Attributes a = attributes_of(b, i);
      bool found = (b.flags[i] & row_found) != 0;
      uint32_t open = b.open[i];
      row_fields(cells, a, found, open);
      out.next().put_raw(
          {reinterpret_cast<const uint8_t*>(s.vector(uint32_t(row))), s.spec.dim * sizeof(float)});
    });
  });
}

void CapabilityStore::decode(SnapshotReader& in) {
  in.table([&](size_t number, FieldReader& fields) {
    SpaceSpec spec;
    uint64_t publish_count = 0;
    fields(spec.name, spec.dim, spec.metric, spec.model, publish_count);
    in.require(spec.dim >= 1 && spec.dim <= space_dim_max && spec.metric <= Metric::inner_product,
               "space.dim");
    in.require(space_find(spec.name) == index_none && apply_space(spec) == number, "space.name");
    CapabilitySpace& s = at(uint32_t(number));
    const std::scoped_lock lock(s.vectors_writer, s.writer);
    s.publish_count = publish_count;
    std::vector<uint32_t> found_rows;
    in.table([&](size_t row, FieldReader& cells) {
      Attributes a;
      bool found = false;
      uint32_t open = 0;
      row_fields(cells, a, found, open);
      in.require(row < index_none - 1 && a.agent != index_none && a.version != 0, "offer.version");
      in.require(a.price >= 0 && a.updated >= 0 && !std::isnan(a.reputation), "offer.price");
      in.require(s.rows.find(a.agent, a.offer) == index_none, "offer.agent");
      a.load = float(open);
      s.restore(a, found, open, in.get_raw(spec.dim * sizeof(float)).data());
      if (found) found_rows.push_back(uint32_t(row));
    });
    s.encode(found_rows, 1);  // all at once: codes are centred on what is there
  });
  for (uint32_t number = 0; number < space_count(); ++number) settle(at(number));
  in.expect_end();
}

}  // namespace hanse
