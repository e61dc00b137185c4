// The reader's side of a LatentExchange.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>

#include "base/error.hpp"
#include "latent/exchange.hpp"
#include "latent/state.hpp"
#include "latent/wire.hpp"

namespace hanse {

namespace {

struct Mapping {
  Mapping(void* at, uint64_t size) : data(static_cast<uint8_t*>(at)), size_bytes(size) {}
  ~Mapping() { munmap(data, size_bytes); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  uint8_t* data;
  uint64_t size_bytes;
};

uint64_t unix_ns() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return uint64_t(now.tv_sec) * 1'000'000'000 + uint64_t(now.tv_nsec);
}

[[noreturn]] void corrupt(const char* what) {
  throw Error(ErrorCode::latent_corrupt, "message", what);
}

[[noreturn]] void gone() {
  throw Error(ErrorCode::closed, "exchange", "its owner is gone, or refused the ticket");
}

struct Closer {
  std::vector<int>& files;
  ~Closer() {
    for (const int file : files)
      if (file >= 0) close(file);
  }
};

bool wait_for(int socket, int timeout_ms) {
  pollfd waiting{socket, POLLIN, 0};
  return ::poll(&waiting, 1, timeout_ms) > 0;
}

}  // namespace

struct RemoteLatent::Connection {
  ~Connection() {
    if (socket >= 0) close(socket);
  }
  int socket = -1;
  Digest ticket{};
  std::shared_ptr<Mapping> words;
  std::map<uint32_t, std::shared_ptr<Mapping>> files;

  uint64_t word(uint32_t slot) const {
    auto* all = reinterpret_cast<uint64_t*>(words->data);
    return std::atomic_ref<uint64_t>(all[slot]).load(std::memory_order_acquire);
  }
};

LatentReader::LatentReader(const std::string& path, AgentId agent, uint32_t tenant,
                           const Digest& ticket)
    : connection_(std::make_shared<RemoteLatent::Connection>()) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    throw Error(ErrorCode::out_of_range, "path", path.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path, path.data(), path.size());
  RemoteLatent::Connection& connection = *connection_;
  connection.ticket = ticket;
  connection.socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (connection.socket < 0 ||
      connect(connection.socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    throw Error(ErrorCode::unusable_directory, "path", path + ": " + std::strerror(errno));
  WireHello hello;
  hello.agent = agent;
  hello.tenant = tenant;
  hello.proof = hello_proof(hello, ticket);
  if (send_message(connection.socket, {reinterpret_cast<const uint8_t*>(&hello), sizeof(hello)},
                   {}) < 0)
    throw Error(ErrorCode::closed, "path", path + ": nobody listens");
}

LatentReader::~LatentReader() = default;

// The answer to the greeting comes before all else. False: not within the time.
bool LatentReader::greeted(int timeout_ms) {
  RemoteLatent::Connection& connection = *connection_;
  if (connection.words) return true;
  if (timeout_ms >= 0 && !wait_for(connection.socket, timeout_ms)) return false;
  std::vector<int> files;
  const Closer closer{files};
  if (receive_message(connection.socket, buffer_, files, true) <= 0) gone();
  void* words = files.size() == 1 && buffer_.size() == sizeof(Digest)
                    ? map_sealed(files[0], control_slots * sizeof(uint64_t))
                    : nullptr;
  if (!words) corrupt("the greeting was not answered");
  connection.words = std::make_shared<Mapping>(words, control_slots * sizeof(uint64_t));
  return true;
}

std::unique_ptr<RemoteLatent> LatentReader::receive(int timeout_ms) {
  RemoteLatent::Connection& connection = *connection_;
  if (!early_.empty()) {
    std::unique_ptr<RemoteLatent> first = std::move(early_.front());
    early_.pop_front();
    return first;
  }
  if (!greeted(timeout_ms)) return nullptr;
  for (;;) {
    if (timeout_ms >= 0 && !wait_for(connection.socket, timeout_ms)) return nullptr;
    std::vector<int> files;
    const Closer closer{files};
    if (receive_message(connection.socket, buffer_, files, true) <= 0) gone();
    // An answer for which nobody waits any more.
    if (wire_kind(buffer_) == wire_answer_magic) continue;
    return remote_of(buffer_, files);
  }
}

std::unique_ptr<RemoteLatent> LatentReader::remote_of(Bytes message,
                                                      const std::vector<int>& files) {
  RemoteLatent::Connection& connection = *connection_;
  const WireShare share = decode_share(message, connection.ticket);
  if (share.files.size() != files.size()) corrupt("descriptors are missing");
  std::unique_ptr<RemoteLatent> remote(new RemoteLatent);
  std::shared_ptr<Mapping> own;
  for (size_t i = 0; i < files.size(); ++i) {
    void* mapped = map_sealed(files[i], share.files[i].size_bytes);
    if (!mapped) corrupt("a descriptor is no sealed file of the size that was said");
    auto mapping = std::make_shared<Mapping>(mapped, share.files[i].size_bytes);
    (share.files[i].number == 0 ? own : connection.files[share.files[i].number]) = mapping;
  }
  remote->connection_ = connection_;
  remote->layout_ = std::make_unique<LatentLayout>(share.spec);
  remote->slot_ = share.slot;
  remote->generation_ = share.generation;
  remote->lease_ns_ = share.lease_ns;
  remote->tokens_ = share.tokens;
  remote->position_base_ = share.position_base;
  for (const WireRun& run : share.runs) {
    const auto known = connection.files.find(run.file);
    const std::shared_ptr<Mapping> file = run.file == 0                     ? own
                                          : known == connection.files.end() ? nullptr
                                                                            : known->second;
    const uint64_t page_bytes = remote->layout_->token_bytes() * run.capacity;
    if (!file || run.repeat == 0 || run.first + run.count > run.capacity ||
        run.offset + run.stride * (run.repeat - 1) + page_bytes > file->size_bytes)
      corrupt("a page lies outside of its file");
    remote->files_.push_back(file);
    for (uint32_t i = 0; i < run.repeat; ++i) {
      auto page = std::make_unique<Page>();
      page->data = file->data + run.offset + run.stride * i;
      page->capacity = run.capacity;
      remote->pieces_.push_back({page.get(), run.first, run.count});
      remote->pages_.push_back(std::move(page));
    }
  }
  return remote;
}

LatentId LatentReader::put(const LatentSpec& spec, const LatentSides& kv, uint32_t token_count,
                           const Terms& terms, int timeout_ms) {
  const LatentLayout layout(spec.plain());
  layout.check_sides("kv", kv);
  check_tokens(terms.said.tokens, token_count);
  const uint64_t payload_bytes = layout.token_bytes() * token_count;
  const uint64_t names_bytes = terms.said.tokens.size_bytes();
  std::vector<int> files{memfd_create("hanse-put", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  const Closer closer{files};
  void* mapped = MAP_FAILED;
  if (files[0] >= 0 && ftruncate(files[0], off_t(payload_bytes + names_bytes)) == 0)
    mapped =
        mmap(nullptr, payload_bytes + names_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, files[0], 0);
  if (mapped == MAP_FAILED)
    throw Error(ErrorCode::quota_exceeded, "memory", payload_bytes + names_bytes, 0);
  {
    const Mapping filled(mapped, payload_bytes + names_bytes);
    Page page;
    page.data = filled.data;
    page.capacity = token_count;
    Page* only = &page;
    layout.scatter(kv, token_count, {&only, 1}, 0);
    if (names_bytes != 0)
      std::memcpy(filled.data + payload_bytes, terms.said.tokens.data(), names_bytes);
  }
  return put_file(spec, files[0], token_count, terms, timeout_ms);
}

LatentId LatentReader::put_file(const LatentSpec& spec, int file, uint32_t token_count,
                                const Terms& terms, int timeout_ms) {
  RemoteLatent::Connection& connection = *connection_;
  const LatentLayout layout(spec.plain());
  check_tokens(terms.said.tokens, token_count);
  check_gloss(terms.said.gloss);
  const uint64_t size_bytes = layout.token_bytes() * token_count + terms.said.tokens.size_bytes();
  struct stat about;
  if (fstat(file, &about) != 0 || uint64_t(about.st_size) != size_bytes)
    throw Error(ErrorCode::bad_array, "file",
                "want a memory file of " + std::to_string(size_bytes) + " bytes");
  if (fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    throw Error(ErrorCode::bad_array, "file",
                "can't be sealed: something still maps it for writing, or it is no memory file");
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  const auto left_ms = [&]() -> int {
    if (timeout_ms < 0) return -1;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    return int(std::max<int64_t>(left.count(), 0));
  };
  const auto late = [] { throw Error(ErrorCode::timed_out, "put", "the owner has not polled"); };
  if (!greeted(timeout_ms)) late();

  WirePut put;
  put.request = ++request_;
  put.spec = spec;
  put.tokens = token_count;
  put.position_base = terms.said.position_base;
  put.ttl_ns = terms.said.lease_ns;
  put.label = terms.said.label;
  put.price = terms.said.price;
  put.step = terms.said.step;
  put.gloss = terms.said.gloss;
  put.cost = terms.cost;
  put.named = !terms.said.tokens.empty();
  put.kept = terms.kept;
  if (send_message(connection.socket, encode_put(put, connection.ticket), {file}) <= 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK)
      throw Error(ErrorCode::backpressure, "put", "the owner reads too slowly");
    gone();
  }
  for (;;) {
    if (timeout_ms >= 0 && !wait_for(connection.socket, left_ms())) late();
    std::vector<int> files;
    const Closer closer{files};
    if (receive_message(connection.socket, buffer_, files, true) <= 0) gone();
    if (wire_kind(buffer_) != wire_answer_magic) {
      if (early_.size() < control_slots) early_.push_back(remote_of(buffer_, files));
      continue;
    }
    const WireAnswer answer = decode_answer(buffer_, connection.ticket);
    if (answer.request != put.request) continue;  // Of one that came too late.
    if (answer.latent == id_none) throw Error(answer.code, answer.field, answer.detail);
    return answer.latent;
  }
}

void LatentReader::release(LatentId latent) {
  const WireDone done{slot_of_put, 0, latent};
  if (send_message(connection_->socket, {reinterpret_cast<const uint8_t*>(&done), sizeof(done)},
                   {}) < 0)
    throw Error(ErrorCode::closed, "exchange", "its owner is gone, or reads too slowly");
}

RemoteLatent::~RemoteLatent() {
  if (!connection_) return;
  // Where the socket is full the owner learns of it when this process ends.
  const WireDone done{slot_, 0, generation_};
  send_message(connection_->socket, {reinterpret_cast<const uint8_t*>(&done), sizeof(done)}, {});
}

void RemoteLatent::check() const {
  if (connection_->word(slot_) != generation_)
    throw Error(ErrorCode::revoked, "latent", "its owner has ended the hand-off");
  if (lease_ns_ != 0 && unix_ns() >= lease_ns_)
    throw Error(ErrorCode::lease_expired, "latent",
                "its lease ended at " + std::to_string(lease_ns_) + " ns");
}

void RemoteLatent::read_into(const LatentSides& out, const LatentReading& reading) const {
  check();
  layout_->check_sides("out", out);
  layout_->check_reading(reading, id_none);
  layout_->gather(pieces_, out, reading);
  check();
}

}  // namespace hanse
