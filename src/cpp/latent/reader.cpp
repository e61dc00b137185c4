// The reader's side of a LatentExchange.
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>

#include "base/error.hpp"
#include "latent/exchange.hpp"
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

std::unique_ptr<RemoteLatent> LatentReader::receive(int timeout_ms) {
  RemoteLatent::Connection& connection = *connection_;
  std::vector<uint8_t> message;
  std::vector<int> files;
  struct Closer {
    std::vector<int>& files;
    ~Closer() {
      for (const int file : files) close(file);
    }
  } closer{files};
  if (timeout_ms >= 0 && !wait_for(connection.socket, timeout_ms)) return nullptr;
  if (receive_message(connection.socket, message, files, true) <= 0)
    throw Error(ErrorCode::closed, "exchange", "its owner is gone, or refused the ticket");
  if (!connection.words) {  // The answer to the greeting comes first.
    void* words = files.size() == 1 && message.size() == sizeof(Digest)
                      ? map_sealed(files[0], control_slots * sizeof(uint64_t))
                      : nullptr;
    if (!words) corrupt("the greeting was not answered");
    connection.words = std::make_shared<Mapping>(words, control_slots * sizeof(uint64_t));
    for (const int file : files) close(file);
    files.clear();
    return receive(timeout_ms);
  }

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
