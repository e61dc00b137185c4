#include "journal/leaf_file.hpp"

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace hanse {

namespace {

constexpr char magic[] = "hanselvs";
constexpr size_t magic_size = 8;
constexpr uint32_t leaf_format = 1;
constexpr size_t leaves_size = leaves_in_block * sizeof(Digest);
constexpr uint64_t blocks_at_once = 256;

[[noreturn]] void throw_damaged(uint64_t offset, const char* what, Position position) {
  throw Error(ErrorCode::corrupt, leaf_file_name, "offset " + std::to_string(offset) + ": " + what,
              0, position);
}

// What a block says of itself behind its leaves.
void seal_block(const JournalUuid& uuid, uint64_t first, std::span<uint8_t> block) {
  ByteWriter tail;
  tail.put(uint32_t(0));  // the CRC
  tail.put(leaf_format);
  tail.put(first);
  tail.put_raw(uuid);
  std::memcpy(block.data() + leaves_size, tail.bytes().data(), tail.size());
  const uint32_t crc = crc32c(block);
  std::memcpy(block.data() + leaves_size, &crc, sizeof(crc));
}

void check_block(const JournalUuid& uuid, uint64_t first, std::span<uint8_t> block) {
  std::vector<uint8_t> expected(block.begin(), block.end());
  seal_block(uuid, first, expected);
  if (!std::ranges::equal(block, expected))
    throw_damaged(block_size + first / leaves_in_block * block_size, "the leaves are damaged",
                  first);
}

std::vector<uint8_t> header_block(const JournalUuid& uuid) {
  std::vector<uint8_t> block(block_size);
  std::memcpy(block.data(), magic, magic_size);
  seal_block(uuid, 0, block);
  return block;
}

}  // namespace

std::vector<Digest> LeafFile::read(uint64_t count) const {
  std::vector<Digest> leaves;
  const uint64_t blocks = count / leaves_in_block;
  if (blocks == 0) return leaves;
  if (!disk_.exists(leaf_file_name)) throw_damaged(0, "there is no such file", 0);
  const auto file = disk_.open(leaf_file_name, OpenMode::read);
  std::vector<uint8_t> image(block_size);
  if (file->size() < block_size) throw_damaged(0, "it ends before its header does", 0);
  file->read(0, image);
  if (image != header_block(uuid_)) throw_damaged(0, "is of another journal, or damaged", 0);
  if ((file->size() - block_size) / block_size < blocks)
    throw_damaged(file->size(), "it ends here, and leaves are missing",
                  (file->size() - block_size) / block_size * leaves_in_block);
  leaves.reserve(blocks * leaves_in_block);
  for (uint64_t block = 0; block < blocks; block += blocks_at_once) {
    image.resize(std::min(blocks_at_once, blocks - block) * block_size);
    file->read((1 + block) * block_size, image);
    for (uint64_t at = 0; at < image.size(); at += block_size) {
      const auto part = std::span(image).subspan(at, block_size);
      check_block(uuid_, leaves.size(), part);
      for (uint64_t i = 0; i < leaves_in_block; ++i)
        std::memcpy(leaves.emplace_back().data(), part.data() + i * sizeof(Digest), sizeof(Digest));
    }
  }
  return leaves;
}

uint64_t LeafFile::write(uint64_t first, std::span<const Digest> leaves) const {
  HANSE_ASSERT(first % leaves_in_block == 0);
  const uint64_t blocks = leaves.size() / leaves_in_block;
  const bool is_new = !disk_.exists(leaf_file_name);
  const auto file = disk_.open(leaf_file_name, is_new ? OpenMode::create : OpenMode::write);
  file->write(0, header_block(uuid_));
  std::vector<uint8_t> image;
  for (uint64_t block = 0; block < blocks; block += blocks_at_once) {
    const uint64_t part = std::min(blocks_at_once, blocks - block);
    image.assign(part * block_size, 0);
    for (uint64_t i = 0; i < part; ++i) {
      const uint64_t leaf = (block + i) * leaves_in_block;
      const auto sealed = std::span(image).subspan(i * block_size, block_size);
      for (uint64_t j = 0; j < leaves_in_block; ++j)
        std::memcpy(sealed.data() + j * sizeof(Digest), leaves[leaf + j].data(), sizeof(Digest));
      seal_block(uuid_, first + leaf, sealed);
    }
    file->write((1 + first / leaves_in_block + block) * block_size, image);
  }
  file->sync();
  if (is_new) disk_.sync_directory("");
  return blocks * leaves_in_block;
}

std::vector<Digest> leaves_before(Disk& disk, const LogStart& start,
                                  std::span<const Digest> last_leaves, bool records_complete) {
  std::vector<Digest> leaves;
  try {
    leaves = LeafFile(disk, start.uuid).read(start.count);
    leaves.insert(leaves.end(), last_leaves.begin(), last_leaves.end());
  } catch (const Error&) {
    if (!records_complete) throw;
    leaves.clear();
    ScanCallbacks callbacks;
    callbacks.record = [&](Position, Bytes, const Digest& leaf) { leaves.push_back(leaf); };
    read_log(disk, callbacks, {}, start.count);
  }
  return leaves;
}

}  // namespace hanse
