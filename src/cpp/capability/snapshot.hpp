// The file of a CapabilityIndex: what it holds, in which order, and how a wrong one is refused.
// Internal to this concept.
//
//   0      header, 4,096 bytes: "HANSEIDX", version, dim, stride, metric, counts, sizes and CRC32C
//          of what follows, its own CRC32C last
//   4096   records, one of 64 bytes a place; then the free places, the last freed one last
//   …      vectors, at a multiple of 4,096: [places, stride] float32, as stored
//
// Codes and the graph follow from the vectors and are made again. Little-endian throughout.
#pragma once

#include <memory>
#include <string>

#include "capability/index.hpp"

namespace hanse {

class Mapping;

struct IndexImage {
  static constexpr uint32_t version = 1;
  static constexpr size_t header_size = 4096, record_size = 64;

  // Throws unusable_directory, storage_failed.
  static void save(const CapabilityIndex& index, const std::string& path);
  static std::vector<uint8_t> encode(const CapabilityIndex& index);
  // Throws corrupt (field `name`, byte named), log_version, unusable_directory.
  static std::unique_ptr<CapabilityIndex> load(const std::string& path, bool view, bool background);
  static std::unique_ptr<CapabilityIndex> decode(Bytes bytes, const std::string& name,
                                                 bool background);

 private:
  // Without a mapping the vectors are copied.
  static std::unique_ptr<CapabilityIndex> read(Bytes file, const std::string& name, bool background,
                                               std::shared_ptr<const Mapping> mapping);
};

}  // namespace hanse
