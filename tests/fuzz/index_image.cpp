// The file of a capability index: read, or refused with the place. Half of the inputs change a
// sound file.
#include "capability/snapshot.hpp"
#include "fuzz.hpp"

using namespace hanse;

namespace {

const std::vector<uint8_t>& sound_image() {
  static const std::vector<uint8_t> image = [] {
    const auto index = std::make_unique<CapabilityIndex>(4, Metric::cosine);
    return IndexImage::encode(*index);
  }();
  return image;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  std::vector<uint8_t> image;
  if (input.take<uint8_t>() % 2 == 0) {
    const Bytes rest = input.rest();
    image.assign(rest.begin(), rest.end());
  } else {
    image = sound_image();
    while (!input.empty()) {
      const auto at = input.take<uint16_t>();
      image[at % image.size()] = input.take<uint8_t>();
    }
  }
  fuzz::typed([&] { IndexImage::decode(image, "image", false); });
  return 0;
}
