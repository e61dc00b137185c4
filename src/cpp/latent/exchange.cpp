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
constexpr size_t puts_max = 4096;                       // of one reader
constexpr uint64_t file_bytes_max = uint64_t(1) << 46;  // no address space is larger
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

namespace {

struct Closer {
  std::vector<int>& files;
  ~Closer() {
    for (const int file : files)
      if (file >= 0) close(file);
  }
};

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
  Reader(int connected, LatentPool& of) : socket(connected), pool(of) {}
  ~Reader() {
    close(socket);
    while (!puts.empty()) let_go(puts.back());
  }
  // False: it put no such latent.
  bool let_go(LatentId latent) {
    if (std::erase(puts, latent) == 0) return false;
    try {
      pool.release(latent);
    } catch (const Error& error) {
      // Somebody here has released it already.
      if (error.code() != ErrorCode::unknown_latent) throw;
    }
    return true;
  }
  int socket;
  LatentPool& pool;
  bool greeted = false;
  AgentId agent = id_none;
  uint32_t tenant = 0;
  Digest ticket{};
  std::set<uint32_t> files;  // numbers of extents whose descriptors it has
  std::vector<std::unique_ptr<Share>> shares;
  std::vector<LatentId> puts;  // handles that end with it
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
    readers_.push_back(std::make_unique<Reader>(connected, pool_));
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
  while (reader.greeted) {
    std::vector<int> files;
    const long size = receive_message(reader.socket, buffer_, files, false);
    const Closer closer{files};
    if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    if (wire_kind(buffer_) == wire_put_magic) {
      if (!take_put(reader, buffer_, files)) return false;
      continue;
    }
    WireDone done;
    if (size != sizeof(done)) return false;
    std::memcpy(&done, buffer_.data(), sizeof(done));
    if (done.slot == slot_of_put) reader.let_go(done.generation);
    std::erase_if(reader.shares, [&](const auto& share) {
      return share->slot == done.slot && share->generation == done.generation;
    });
  }
  return true;
}

// False: it is not who it was, or doesn't listen. What can't be put is answered.
bool LatentExchange::take_put(Reader& reader, Bytes message, std::vector<int>& files) {
  WireAnswer answer;
  WirePut put;
  try {
    put = decode_put(message, reader.ticket);
  } catch (const Error&) {
    return false;
  }
  answer.request = put.request;
  try {
    if (files.size() != 1)
      throw Error(ErrorCode::latent_corrupt, "file",
                  "want one descriptor, have " + std::to_string(files.size()));
    if (reader.puts.size() >= puts_max)
      throw Error(ErrorCode::quota_exceeded, "puts", reader.puts.size() + 1, puts_max);
    answer.latent = adopt_file(reader, put, files[0]);
    reader.puts.push_back(answer.latent);
    if (put.kept) pool_.keep(answer.latent, reader.agent, reader.tenant, put.cost, false);
  } catch (const Error& error) {
    if (answer.latent != id_none) reader.let_go(answer.latent);
    answer.latent = id_none;
    answer.code = error.code();
    answer.field = error.field();
    answer.detail = error.detail();
  }
  return send_message(reader.socket, encode_answer(answer, reader.ticket), {}) > 0;
}

// The file's memory becomes the latent's, which closes it; within the pool's bound, since its maker
// may be gone tomorrow.
LatentId LatentExchange::adopt_file(Reader& reader, const WirePut& put, int& file) {
  const LatentLayout layout(put.spec);
  const auto size = static_cast<unsigned __int128>(layout.token_bytes()) * put.tokens;
  const uint64_t names_bytes = put.named ? uint64_t(put.tokens) * sizeof(uint32_t) : 0;
  if (put.tokens == 0) throw Error(ErrorCode::empty, "token_count", "a latent has tokens");
  if (size > file_bytes_max)
    throw Error(ErrorCode::too_large, "kv", uint64_t(std::min<unsigned __int128>(size, UINT64_MAX)),
                file_bytes_max);
  const uint64_t payload_bytes = uint64_t(size), mapped_bytes = payload_bytes + names_bytes;
  void* mapped = map_frozen(file, mapped_bytes);
  if (!mapped)
    throw Error(ErrorCode::latent_corrupt, "file",
                "want a memory file of " + std::to_string(mapped_bytes) +
                    " bytes that is sealed against writing, shrinking and growing");
  auto* data = static_cast<uint8_t*>(mapped);
  LatentTerms terms;
  terms.tokens = {reinterpret_cast<const uint32_t*>(data + payload_bytes),
                  put.named ? put.tokens : 0};
  std::vector<uint32_t> aligned;
  if (put.named && payload_bytes % alignof(uint32_t) != 0) {
    aligned.resize(put.tokens);
    std::memcpy(aligned.data(), data + payload_bytes, names_bytes);
    terms.tokens = aligned;
  }
  terms.step = put.step;
  terms.position_base = put.position_base;
  if (put.ttl_ns != 0) terms.lease_ns = pool_.state().clock->now_ns() + put.ttl_ns;
  terms.label = put.label;
  terms.price = put.price;
  terms.gloss = put.gloss;
  try {
    // What is quantised here is copied; the rest stays where it lies.
    if (layout.group_bytes != 0) {
      const LatentId latent = pool_.put(reader.agent, reader.tenant, put.spec,
                                        layout.contiguous(data, put.tokens), put.tokens, terms);
      munmap(mapped, mapped_bytes);
      return latent;
    }
    const int kept = file;
    const LatentId latent = pool_.adopt(
        reader.agent, reader.tenant, put.spec, {data, payload_bytes}, put.tokens, terms, kept,
        [mapped, mapped_bytes, kept] {
          munmap(mapped, mapped_bytes);
          close(kept);
        },
        true);
    file = -1;
    return latent;
  } catch (...) {
    munmap(mapped, mapped_bytes);
    throw;
  }
}

std::vector<std::pair<LatentId, AgentId>> LatentExchange::puts() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<LatentId, AgentId>> all;
  for (const auto& reader : readers_)
    for (const LatentId latent : reader->puts) all.emplace_back(latent, reader->agent);
  return all;
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

namespace {

void add_file(uint32_t number, uint64_t size_bytes, int descriptor, WireShare& message,
              std::vector<int>& files) {
  message.files.push_back({number, size_bytes});
  files.push_back(descriptor);
}

// One run for pages that lie at equal distances, as they mostly do.
void add_page(const Piece& piece, std::vector<WireRun>& runs) {
  const PageExtent& extent = *piece.page->extent;
  const auto offset = uint64_t(piece.page->data - extent.start);
  const WireRun run{extent.number, offset, 0, piece.page->capacity, piece.first, piece.count, 1};
  if (!runs.empty()) {
    WireRun& last = runs.back();
    const uint64_t step = offset - last.offset - last.stride * (last.repeat - 1);
    if (last.file == run.file && last.capacity == run.capacity && last.first == run.first &&
        last.count == run.count && offset > last.offset &&
        (last.repeat == 1 || step == last.stride)) {
      last.stride = step;
      ++last.repeat;
      return;
    }
  }
  runs.push_back(run);
}

// Where the pieces lie, in files of `tenant`, of which the reader has the `known` ones. False: not
// all of it can be mapped.
bool name_pages(std::span<const Piece> pieces, uint32_t tenant, const std::set<uint32_t>& known,
                WireShare& message, std::vector<int>& files) {
  for (const Piece& piece : pieces) {
    const PageExtent& extent = *piece.page->extent;
    if (extent.descriptor < 0 || extent.tenant != tenant || files.size() >= wire_files_max ||
        message.runs.size() >= wire_size_max / 64)
      return false;
    if (extent.release) {
      // A file of one latent alone: the reader must not keep it longer than that.
      if (pieces.size() != 1) return false;
      message.runs = {{0, 0, 0, piece.page->capacity, piece.first, piece.count, 1}};
      add_file(0, extent.size_bytes, extent.descriptor, message, files);
      return true;
    }
    add_page(piece, message.runs);
    const bool named = std::any_of(message.files.begin(), message.files.end(),
                                   [&](const WireFile& f) { return f.number == extent.number; });
    if (!named && !known.contains(extent.number))
      add_file(extent.number, extent.size_bytes, extent.descriptor, message, files);
  }
  return true;
}

}  // namespace

bool LatentExchange::send(Reader& reader, LatentId latent, LatentHold hold) {
  const LatentLayout& layout = hold.layout();
  WireShare message;
  std::vector<int> files;
  // What is quantised is read, and goes as a copy.
  const bool mappable = layout.group_bytes == 0 &&
                        name_pages(hold.pieces(), reader.tenant, reader.files, message, files);
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
    add_file(0, bytes.size(), copy, message, files);  // 0: of this hand-off alone
  }
  message.lease_ns = body.lease_ns;
  message.tokens = body.tokens;
  message.position_base = body.position_base;
  message.spec = layout.spec.plain();
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
