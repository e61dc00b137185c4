// Bytes that were never written by this program, read as records.
#include <gtest/gtest.h>

#include "kernel/codec.hpp"

namespace hanse {
namespace {

TEST(Record, ATruthIsOneByteAndEitherOfTwo) {
  ByteWriter writer;
  RatedRecord rated{7, true};
  encode_record(rated, Envelope{.type = RecordType::rated}, writer);
  std::vector<uint8_t> record(writer.bytes().begin(), writer.bytes().end());
  for (int value = 0; value < 256; ++value) {
    record.back() = uint8_t(value);
    ByteReader reader(record);
    const Envelope envelope = decode_envelope(reader);
    if (value < 2) {
      EXPECT_EQ(decode_body<RatedRecord>(reader).success, value == 1);
      continue;
    }
    try {
      decode_body<RatedRecord>(reader);
      ADD_FAILURE() << value << " was taken for a truth";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::corrupt);
    }
    EXPECT_EQ(envelope.type, RecordType::rated);
  }
}

}  // namespace
}  // namespace hanse
