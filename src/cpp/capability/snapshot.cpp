#include "capability/snapshot.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"
#include "capability/mapping.hpp"
#include "capability/space.hpp"

namespace hanse {

namespace {

constexpr char magic[8] = {'H', 'A', 'N', 'S', 'E', 'I', 'D', 'X'};
constexpr size_t page = 4096;

using Lock = std::lock_guard<std::mutex>;

struct Header {
  uint32_t dim = 0, stride = 0, places = 0, free_count = 0, next = 0;
  Metric metric = Metric::cosine;
  double norm_max = 0;
  uint64_t records_size = 0, vectors_at = 0, vectors_size = 0;
  uint32_t records_crc = 0, vectors_crc = 0;
};

void encode_header(const Header& h, ByteWriter& out) {
  out.put_raw({reinterpret_cast<const uint8_t*>(magic), sizeof(magic)});
  out.put(IndexImage::version);
  out.put(h.dim), out.put(h.stride), out.put(h.places), out.put(h.free_count), out.put(h.next);
  out.put(uint32_t(h.metric));
  out.put(h.norm_max);
  out.put(h.records_size), out.put(h.vectors_at), out.put(h.vectors_size);
  out.put(h.records_crc), out.put(h.vectors_crc);
  while (out.size() < IndexImage::header_size - sizeof(uint32_t)) out.put(uint8_t(0));
  out.put(crc32c(out.bytes()));
}

[[noreturn]] void refuse(const std::string& name, size_t at, const std::string& why) {
  throw Error(ErrorCode::corrupt, "path", name + " at byte " + std::to_string(at) + ": " + why);
}

Header decode_header(Bytes file, const std::string& name) {
  if (file.size() < IndexImage::header_size)
    refuse(name, file.size(), "ends before its header does");
  if (std::memcmp(file.data(), magic, sizeof(magic)) != 0) refuse(name, 0, "is no saved index");
  ByteReader in(file.subspan(sizeof(magic), IndexImage::header_size - sizeof(magic)));
  const auto version = in.get<uint32_t>();
  if (version != IndexImage::version)
    throw Error(ErrorCode::log_version, "path",
                name + " has version " + std::to_string(version) + "; this build reads " +
                    std::to_string(IndexImage::version));
  const size_t crc_at = IndexImage::header_size - sizeof(uint32_t);
  uint32_t crc;
  std::memcpy(&crc, file.data() + crc_at, sizeof(crc));
  if (crc != crc32c(file.first(crc_at))) refuse(name, crc_at, "the header's checksum is wrong");
  Header h;
  h.dim = in.get<uint32_t>(), h.stride = in.get<uint32_t>(), h.places = in.get<uint32_t>();
  h.free_count = in.get<uint32_t>(), h.next = in.get<uint32_t>();
  h.metric = Metric(in.get<uint32_t>());
  h.norm_max = in.get<double>();
  h.records_size = in.get<uint64_t>(), h.vectors_at = in.get<uint64_t>();
  h.vectors_size = in.get<uint64_t>();
  h.records_crc = in.get<uint32_t>(), h.vectors_crc = in.get<uint32_t>();

  const uint64_t records_size =
      uint64_t(h.places) * IndexImage::record_size + uint64_t(h.free_count) * sizeof(uint32_t);
  const uint64_t vectors_at = (IndexImage::header_size + records_size + page - 1) / page * page;
  const bool sound = h.dim >= 1 && h.dim <= space_dim_max &&
                     h.stride == (h.dim + lanes_max - 1) / lanes_max * lanes_max &&
                     h.free_count <= h.places && uint32_t(h.metric) <= 1 &&
                     h.records_size == records_size && h.vectors_at == vectors_at &&
                     h.vectors_size == uint64_t(h.places) * h.stride * sizeof(float);
  if (!sound) refuse(name, sizeof(magic), "the header contradicts itself");
  if (file.size() != h.vectors_at + h.vectors_size)
    refuse(name, file.size(),
           "ends here, and not at " + std::to_string(h.vectors_at + h.vectors_size));
  return h;
}

void encode_record(const RowBlock& b, uint32_t i, ByteWriter& out) {
  out.put(b.id[i]);
  out.put(b.price[i]), out.put(b.updated[i]);
  out.put(b.skills[i]), out.put(b.policy_bits[i]);
  out.put(b.load[i]), out.put(b.reputation[i]);
  out.put(b.agent[i]), out.put(b.version[i]), out.put(b.tenant[i]);
  out.put(b.region[i]), out.put(b.tier[i]);
  out.put(uint8_t(b.flags[i] & row_found ? 1 : 0));
}

// -> whether an id has the place.
bool decode_record(ByteReader& in, Attributes& a) {
  a.id = in.get<uint64_t>();
  a.price = in.get<int64_t>(), a.updated = in.get<int64_t>();
  a.skills = in.get<uint64_t>(), a.policy_bits = in.get<uint64_t>();
  a.load = in.get<float>(), a.reputation = in.get<float>();
  a.agent = in.get<uint32_t>(), a.version = in.get<uint32_t>(), a.tenant = in.get<uint32_t>();
  a.region = in.get<uint16_t>(), a.tier = in.get<uint8_t>();
  return in.get<uint8_t>() == 1;
}

bool sound(const Attributes& a) {
  return a.price >= 0 && a.updated >= 0 && !std::isnan(a.load) && !std::isnan(a.reputation);
}

[[noreturn]] void storage_failed(const std::string& path, const char* what) {
  throw Error(ErrorCode::storage_failed, "path", path + ": " + what + ": " + std::strerror(errno));
}

void write_all(int file, Bytes bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) storage_failed(path, "write");
    bytes = bytes.subspan(size_t(written));
  }
}

struct File {
  explicit File(int descriptor) : number(descriptor) {}
  ~File() {
    if (number >= 0) ::close(number);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int number;
};

// Calls sink(bytes) for the file from its beginning to its end. The vectors hold still; attributes
// are copied first and may then go on.
template <class Sink>
void write_image(CapabilitySpace& space, const std::vector<uint32_t>& free_rows, uint32_t next,
                 Sink&& sink) {
  Header h;
  ByteWriter records;
  {
    const Lock lock(space.writer);
    h.places = space.row_count();
    for (uint32_t row = 0; row < h.places; ++row)
      encode_record(space.block(row), CapabilitySpace::slot(row), records);
  }
  for (const uint32_t row : free_rows) records.put(row);
  h.dim = space.spec.dim, h.stride = space.stride, h.metric = space.spec.metric;
  h.free_count = uint32_t(free_rows.size()), h.next = next;
  h.norm_max = space.norm_max();
  h.records_size = records.size();
  h.records_crc = crc32c(records.bytes());
  h.vectors_at = (IndexImage::header_size + h.records_size + page - 1) / page * page;
  h.vectors_size = uint64_t(h.places) * h.stride * sizeof(float);
  const auto each_block = [&](auto&& use) {
    for (uint32_t row = 0; row < h.places; row += rows_in_block) {
      const size_t rows = std::min(rows_in_block, h.places - row);
      use(Bytes{reinterpret_cast<const uint8_t*>(space.vector(row)),
                rows * h.stride * sizeof(float)});
    }
  };
  each_block([&](Bytes bytes) { h.vectors_crc = crc32c(bytes, h.vectors_crc); });
  ByteWriter header;
  encode_header(h, header);
  sink(header.bytes());
  sink(records.bytes());
  const std::vector<uint8_t> gap(h.vectors_at - IndexImage::header_size - h.records_size);
  sink(Bytes(gap));
  each_block(sink);
}

}  // namespace

std::vector<uint8_t> IndexImage::encode(const CapabilityIndex& index) {
  const Lock writing(index.space_->vectors_writer);
  std::vector<uint8_t> image;
  write_image(*index.space_, index.free_rows_, index.next_,
              [&](Bytes bytes) { image.insert(image.end(), bytes.begin(), bytes.end()); });
  return image;
}

void IndexImage::save(const CapabilityIndex& index, const std::string& path) {
  const std::string beside = path + ".new";
  const File file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.number < 0)
    throw Error(ErrorCode::unusable_directory, "path", beside + ": " + std::strerror(errno));
  try {
    const Lock writing(index.space_->vectors_writer);
    write_image(*index.space_, index.free_rows_, index.next_,
                [&](Bytes bytes) { write_all(file.number, bytes, beside); });
    if (::fsync(file.number) != 0) storage_failed(beside, "fsync");
    if (::rename(beside.c_str(), path.c_str()) != 0) storage_failed(path, "rename");
  } catch (...) {
    ::unlink(beside.c_str());
    throw;
  }
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const File directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.number >= 0 && ::fsync(directory.number) != 0) storage_failed(folder, "fsync");
}

std::unique_ptr<CapabilityIndex> IndexImage::read(Bytes file, const std::string& name,
                                                  bool background,
                                                  std::shared_ptr<const Mapping> mapping) {
  const Header h = decode_header(file, name);
  const Bytes records = file.subspan(header_size, h.records_size);
  const Bytes vectors = file.subspan(h.vectors_at, h.vectors_size);
  if (crc32c(records) != h.records_crc)
    refuse(name, header_size, "the checksum of the records is wrong");
  if (crc32c(vectors) != h.vectors_crc)
    refuse(name, h.vectors_at, "the checksum of the vectors is wrong");
  for (size_t at = header_size + h.records_size; at < h.vectors_at; ++at)
    if (file[at] != 0) refuse(name, at, "there is something where nothing should be");

  auto index = std::make_unique<CapabilityIndex>(
      IndexOptions{.dim = h.dim, .metric = h.metric, .background = background});
  CapabilitySpace& space = *index->space_;
  {
    const Lock writing(space.vectors_writer), lock(space.writer);
    space.adopt(h.places, reinterpret_cast<const float*>(vectors.data()), h.norm_max,
                std::move(mapping));
    ByteReader in(records);
    std::vector<uint32_t> found;
    for (uint32_t row = 0; row < h.places; ++row) {
      Attributes a;
      if (!decode_record(in, a)) continue;
      const double square = exact_dot(space.vector(row), space.vector(row), h.stride);
      if (!sound(a) || !(square > 0) || !(std::sqrt(square) <= h.norm_max * (1 + 1e-6)))
        refuse(name, header_size + size_t(row) * record_size, "holds what no index would");
      if (index->row_of(a.id) != index_none)
        refuse(name, header_size + size_t(row) * record_size, "an id is there twice");
      space.put_stored(row, a);
      index->row_of_.insert(CapabilityIndex::hash_id(a.id), row);
      found.push_back(row);
    }
    index->free_rows_.resize(h.free_count);
    for (uint32_t& row : index->free_rows_) {
      row = in.get<uint32_t>();
      if (row >= h.places || (space.block(row).flags[CapabilitySpace::slot(row)] & row_found))
        refuse(name, h.vectors_at, "a free place is none");
    }
    if (found.size() + h.free_count != h.places)
      refuse(name, header_size, "places are neither free nor filled");
    index->next_ = h.next;
    space.encode(found, 1);
  }
  if (background) index->settle(0);
  return index;
}

std::unique_ptr<CapabilityIndex> IndexImage::decode(Bytes bytes, const std::string& name,
                                                    bool background) {
  return read(bytes, name, background, nullptr);
}

std::unique_ptr<CapabilityIndex> IndexImage::load(const std::string& path, bool view,
                                                  bool background) {
  auto mapping = std::make_shared<const Mapping>(path);
  const Bytes file = mapping->bytes();
  return read(file, path, background, view ? mapping : nullptr);
}

void CapabilityIndex::save(const std::string& path) const { IndexImage::save(*this, path); }

std::unique_ptr<CapabilityIndex> CapabilityIndex::load(const std::string& path, bool view,
                                                       bool background) {
  return IndexImage::load(path, view, background);
}

std::vector<uint8_t> CapabilityIndex::to_bytes() const { return IndexImage::encode(*this); }

std::unique_ptr<CapabilityIndex> CapabilityIndex::from_bytes(Bytes bytes, bool background) {
  return IndexImage::decode(bytes, "bytes", background);
}

}  // namespace hanse
