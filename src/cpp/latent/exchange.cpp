#include "latent/exchange.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>

#include "base/error.hpp"
#include "latent/state.hpp"
#include "latent/wire.hpp"

namespace hanse {

namespace {

constexpr size_t readers_max = 1024;
constexpr uint64_t control_bytes = control_slots * sizeof(uint64_t);

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    throw Error(ErrorCode::out_of_range, "path", path.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

// One word for each hand-off: its generation while it stands.
struct LatentExchange::Control {
  Control() {
    file = memfd_create("hanse-latent-words", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void* mapped = MAP_FAILED;
    if (file >= 0 && ftruncate(file, off_t(control_bytes)) == 0)
      mapped = mmap(nullptr, control_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) throw Error(ErrorCode::quota_exceeded, "memory", "no shared memory");
    words = static_cast<uint64_t*>(mapped);
    constexpr int future_write = 0x0010;
    fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | future_write | F_SEAL_SEAL);
    for (uint32_t slot = control_slots; slot-- > 0;) free.push_back(slot);
  }
  ~Control() {
    if (words) munmap(words, control_bytes);
    if (file >= 0) close(file);
  }
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  int file = -1;
  uint64_t* words = nullptr;
  std::vector<uint32_t> free;
  uint64_t generation = 0;
};

// Its word is 0 from its end on; its pages and its slot are free once it is destroyed.
struct LatentExchange::Share {
  Share(std::shared_ptr<Control> of, LatentId id, LatentHold held)
      : control(std::move(of)), latent(id), hold(std::move(held)), slot(control->free.back()) {
    control->free.pop_back();
    generation = ++control->generation;
    word().store(generation, std::memory_order_release);
    hold.end_with(alive, control->words + slot, generation);
  }
  ~Share() {
    alive.reset();
    word().store(0, std::memory_order_release);
    control->free.push_back(slot);
  }
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  std::atomic_ref<uint64_t> word() const { return std::atomic_ref(control->words[slot]); }

  std::shared_ptr<Control> control;
  LatentId latent;
  LatentHold hold;
  std::shared_ptr<void> alive = std::make_shared<int>(0);
  uint32_t slot;
  uint64_t generation = 0;
};

struct LatentExchange::Reader {
  explicit Reader(int connected) : socket(connected) {}
  ~Reader() { close(socket); }
  int socket;
  bool greeted = false;
  AgentId agent = id_none;
  uint32_t tenant = 0;
  Digest ticket{};
  std::set<uint32_t> files;  // numbers of extents whose descriptors it has
  std::vector<std::unique_ptr<Share>> shares;
};

LatentExchange::LatentExchange(LatentPool& pool, const std::string& path)
    : pool_(pool), path_(path), key_(random_key()), control_(std::make_shared<Control>()) {
  const sockaddr_un address = address_of(path);
  socket_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ >= 0 &&
      bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      chmod(path.c_str(), 0600) == 0 && listen(socket_, 64) == 0)
    return;
  const std::string reason = std::strerror(errno);
  if (socket_ >= 0) close(socket_);
  throw Error(ErrorCode::unusable_directory, "path", path + ": " + reason);
}

LatentExchange::~LatentExchange() {
  const std::lock_guard lock(mutex_);
  readers_.clear();
  close(socket_);
  unlink(path_.c_str());
}

Digest LatentExchange::ticket(AgentId agent, uint32_t tenant) const {
  const uint64_t named[2] = {agent, tenant};
  return hmac_sha256(key_, {reinterpret_cast<const uint8_t*>(named), sizeof(named)});
}

void LatentExchange::accept_all() {
  while (readers_.size() < readers_max) {
    const int connected = accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connected < 0) return;
    readers_.push_back(std::make_unique<Reader>(connected));
  }
}

// False: it is not who it says. The answer carries the descriptor of the words.
bool LatentExchange::greet(Reader& reader) {
  std::vector<uint8_t> message;
  std::vector<int> files;
  const long size = receive_message(reader.socket, message, files, false);
  for (const int file : files) close(file);
  if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
  WireHello hello;
  if (message.size() != sizeof(hello)) return false;
  std::memcpy(&hello, message.data(), sizeof(hello));
  const Digest expected = ticket(hello.agent, hello.tenant);
  if (hello.magic != wire_magic || !same_digest(hello.proof, hello_proof(hello, expected)))
    return false;
  reader.agent = hello.agent;
  reader.tenant = hello.tenant;
  reader.ticket = expected;
  reader.greeted = true;
  const Digest answer = hmac_sha256(expected, hello.proof);
  return send_message(reader.socket, answer, {control_->file}) > 0;
}

// False: its process is gone.
bool LatentExchange::listen_to(Reader& reader) {
  if (!reader.greeted && !greet(reader)) return false;
  for (WireDone done; reader.greeted;) {
    const long size = recv(reader.socket, &done, sizeof(done), MSG_DONTWAIT);
    if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    if (size != sizeof(done)) return false;
    std::erase_if(reader.shares, [&](const auto& share) {
      return share->slot == done.slot && share->generation == done.generation;
    });
  }
  return true;
}

size_t LatentExchange::poll() {
  const std::lock_guard lock(mutex_);
  accept_all();
  std::erase_if(readers_, [&](const auto& reader) { return !listen_to(*reader); });
  return size_t(std::count_if(readers_.begin(), readers_.end(),
                              [](const auto& reader) { return reader->greeted; }));
}

size_t LatentExchange::share(LatentId latent, AgentId agent) {
  const std::lock_guard lock(mutex_);
  size_t sent = 0;
  for (const auto& reader : readers_)
    if (reader->greeted && reader->agent == agent && !control_->free.empty())
      sent += send(*reader, latent, pool_.hold(latent, agent, reader->tenant));
  return sent;
}

bool LatentExchange::send(Reader& reader, LatentId latent, LatentHold hold) {
  const LatentLayout& layout = hold.layout();
  WireShare message;
  std::vector<int> files;
  const auto add_file = [&](uint32_t number, uint64_t size_bytes, int descriptor) {
    message.files.push_back({number, size_bytes});
    files.push_back(descriptor);
  };
  // One run for pages that lie at equal distances, as they mostly do.
  const auto add_page = [&](const Piece& piece) {
    const PageExtent& extent = *piece.page->extent;
    const auto offset = uint64_t(piece.page->data - extent.start);
    const WireRun run{extent.number, offset, 0, piece.page->capacity, piece.first, piece.count, 1};
    if (!message.runs.empty()) {
      WireRun& last = message.runs.back();
      const uint64_t step = offset - last.offset - last.stride * (last.repeat - 1);
      if (last.file == run.file && last.capacity == run.capacity && last.first == run.first &&
          last.count == run.count && offset > last.offset &&
          (last.repeat == 1 || step == last.stride)) {
        last.stride = step;
        ++last.repeat;
        return;
      }
    }
    message.runs.push_back(run);
  };

  bool mappable = true;
  for (const Piece& piece : hold.pieces()) {
    const PageExtent& extent = *piece.page->extent;
    mappable = mappable && extent.descriptor >= 0 && extent.tenant == reader.tenant &&
               files.size() < wire_files_max && message.runs.size() < wire_size_max / 64;
    if (!mappable) break;
    add_page(piece);
    const bool known = reader.files.contains(extent.number) ||
                       std::any_of(message.files.begin(), message.files.end(),
                                   [&](const WireFile& f) { return f.number == extent.number; });
    if (!known) add_file(extent.number, extent.size_bytes, extent.descriptor);
  }
  const LatentBody& body = hold.body();
  int copy = -1;
  if (!mappable) {
    std::vector<uint8_t> bytes(body.size_bytes());
    layout.gather(hold.pieces(), layout.contiguous(bytes.data(), body.tokens));
    copy = sealed_copy(bytes);
    if (copy < 0) throw Error(ErrorCode::quota_exceeded, "memory", "no memory for a sealed copy");
    message.runs = {{0, 0, 0, body.tokens, 0, body.tokens, 1}};
    message.files.clear();
    files.clear();
    add_file(0, bytes.size(), copy);  // 0: of this hand-off alone
  }
  message.lease_ns = body.lease_ns;
  message.tokens = body.tokens;
  message.position_base = body.position_base;
  message.spec = layout.spec;
  auto share = std::make_unique<Share>(control_, latent, std::move(hold));
  message.slot = share->slot;
  message.generation = share->generation;
  const bool sent = send_message(reader.socket, encode_share(message, reader.ticket), files) > 0;
  if (copy >= 0) close(copy);
  if (!sent) return false;
  for (const WireFile& file : message.files)
    if (file.number != 0) reader.files.insert(file.number);
  reader.shares.push_back(std::move(share));
  return true;
}

size_t LatentExchange::end(LatentId latent, AgentId agent) {
  const std::lock_guard lock(mutex_);
  size_t ended = 0;
  for (const auto& reader : readers_)
    for (const auto& share : reader->shares) {
      if (reader->agent != agent || share->latent != latent) continue;
      // The pages stay taken until the reader lets go: it may be showing them.
      ended += share->word().exchange(0, std::memory_order_acq_rel) != 0;
    }
  return ended;
}

size_t LatentExchange::share_count() const {
  const std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const auto& reader : readers_) count += reader->shares.size();
  return count;
}

}  // namespace hanse
