#include "kernel/publication.hpp"

namespace hanse {

namespace {

// Each array begins at a multiple of 8 within the block, so that it can be used in place.
template <class T>
void put_array(ByteWriter& writer, std::span<const T> values) {
  writer.put(uint64_t(values.size()));
  writer.put_raw({reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()});
  while (writer.size() % 8 != 0) writer.put(uint8_t(0));
}

template <class T>
std::span<const T> get_array(ByteReader& reader, uint64_t limit) {
  const auto size = reader.get<uint64_t>();
  if (size > limit)
    throw Error(ErrorCode::corrupt, "publication",
                "an array of " + std::to_string(size) + " where at most " + std::to_string(limit) +
                    " can be");
  const Bytes bytes = reader.get_raw(size * sizeof(T));
  if (bytes.size() % 8 != 0) (void)reader.get_raw(8 - bytes.size() % 8);
  return {reinterpret_cast<const T*>(bytes.data()), size};
}

template <class T>
Column<T> get_column(ByteReader& reader, uint64_t count) {
  const std::span<const T> values = get_array<T>(reader, count);
  if (values.size() != 1 && values.size() != count)
    throw Error(ErrorCode::corrupt, "publication", "a column is neither 1 nor all rows long");
  return {values};
}

}  // namespace

void encode_publication(const Offers& offers, std::span<const uint32_t> expected,
                        ByteWriter& writer) {
  put_array(writer, offers.agents);
  put_array(writer, expected);
  put_array(writer, offers.price.values);
  put_array(writer, offers.tier.values);
  put_array(writer, offers.skills.values);
  put_array(writer, offers.region.values);
  put_array(writer, offers.policy_bits.values);
  put_array(writer, offers.slots.values);
  put_array(writer, std::span<const float>(offers.vectors.data,
                                           offers.vectors.rows * offers.vectors.columns));
}

Publication decode_publication(Bytes block, uint32_t offer, uint32_t count, uint32_t dim) {
  Publication publication;
  if (reinterpret_cast<uintptr_t>(block.data()) % 8 != 0) {
    publication.aligned.assign(block.begin(), block.end());
    block = publication.aligned;
  }
  ByteReader reader(block);
  Offers& offers = publication.offers;
  offers.offer = offer;
  offers.agents = get_array<uint32_t>(reader, count);
  publication.expected = get_array<uint32_t>(reader, count);
  offers.price = get_column<int64_t>(reader, count);
  offers.tier = get_column<uint8_t>(reader, count);
  offers.skills = get_column<uint64_t>(reader, count);
  offers.region = get_column<uint16_t>(reader, count);
  offers.policy_bits = get_column<uint64_t>(reader, count);
  offers.slots = get_column<uint16_t>(reader, count);
  const auto vectors = get_array<float>(reader, uint64_t(count) * dim);
  reader.expect_end();
  const size_t expected = publication.expected.size();
  if (offers.agents.size() != count || vectors.size() != uint64_t(count) * dim ||
      (expected != 0 && expected != count))
    throw Error(ErrorCode::corrupt, "publication", "is not as long as its record says");
  offers.vectors = {vectors.data(), count, dim};
  return publication;
}

}  // namespace hanse
