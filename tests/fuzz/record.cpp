// Records: what decodes is encoded to the same bytes again.
#include "fuzz.hpp"
#include "kernel/codec.hpp"

using namespace hanse;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> record(data, data + size);
  // The length is what most inputs would fail on.
  if (size >= envelope_size && size % 2 == 0) {
    const auto length = uint32_t(size - envelope_size);
    std::memcpy(record.data() + 4, &length, sizeof length);
    record[0] %= 80, record[1] = 0, record[2] = 1, record[3] = 0;
  }
  fuzz::typed([&] {
    ByteReader reader(record);
    const Envelope envelope = decode_envelope(reader);
    visit_record(envelope, reader, [&](auto&& body) {
      std::vector<std::pair<std::string, std::string>> shown;
      body.fields(codec::Describe{shown});
      ByteWriter writer;
      encode_record(body, envelope, writer);
      fuzz::require(writer.bytes().size() == record.size());
      fuzz::require(std::memcmp(writer.bytes().data(), record.data(), record.size()) == 0);
    });
  });
  return 0;
}
