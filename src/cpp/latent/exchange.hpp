// Latents for other processes of this host: a Unix socket hands over descriptors of memory files,
// then a hand-off is one message that names pages in files which the reader has mapped already.
//
// A reader maps only files of its own tenant; what belongs to another tenant, or lies in no file,
// is copied into a sealed file of its own. A word in shared memory says whether a hand-off still
// stands: revoking it is seen by every process at its next look. Pages stay taken until the reader
// lets go or its process ends, so that no page is used anew while someone may show it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/hmac.hpp"
#include "latent/latent.hpp"

namespace hanse {

// The owner's side. Any thread; no thread of its own: whoever calls does what is due.
class LatentExchange {
 public:
  // Listens at `path`, which must not exist. Throws unusable_directory.
  LatentExchange(LatentPool& pool, const std::string& path);
  ~LatentExchange();
  LatentExchange(const LatentExchange&) = delete;
  LatentExchange& operator=(const LatentExchange&) = delete;

  // What a process needs to connect as this agent; hand it over by a way of your own.
  Digest ticket(AgentId agent, uint32_t tenant) const;
  // Accepts who connected, and lets go of what readers released or left behind. Returns how many
  // readers there are.
  size_t poll();
  // To all connections of the agent; each counts as a reader. Returns how many got it: 0 where none
  // is connected or its socket is full. Throws as LatentPool::hold does.
  size_t share(LatentId latent, AgentId agent);
  // Ends all hand-offs of this latent to the agent at once. Returns how many.
  size_t end(LatentId latent, AgentId agent);
  size_t share_count() const;

 private:
  struct Reader;
  struct Share;
  struct Control;

  void accept_all();
  bool greet(Reader& reader);
  bool listen_to(Reader& reader);
  bool send(Reader& reader, LatentId latent, LatentHold hold);

  LatentPool& pool_;
  const std::string path_;
  const Digest key_;
  mutable std::mutex mutex_;
  int socket_ = -1;
  std::shared_ptr<Control> control_;
  std::vector<std::unique_ptr<Reader>> readers_;
};

// What a reader was handed. Keeps its mappings and its place on the owner's side.
class RemoteLatent {
 public:
  ~RemoteLatent();
  RemoteLatent(const RemoteLatent&) = delete;
  RemoteLatent& operator=(const RemoteLatent&) = delete;

  const LatentLayout& layout() const { return *layout_; }
  std::span<const Piece> pieces() const { return pieces_; }
  uint32_t tokens() const { return tokens_; }
  uint32_t position_base() const { return position_base_; }
  // Throws revoked, lease_expired.
  void check() const;
  // As LatentPool::read_into; checks before and after, so that nothing revoked meanwhile passes.
  void read_into(const LatentSides& out, const LatentReading& reading) const;

 private:
  friend class LatentReader;
  RemoteLatent() = default;

  struct Connection;
  std::shared_ptr<Connection> connection_;
  std::unique_ptr<LatentLayout> layout_;
  std::vector<std::unique_ptr<Page>> pages_;
  std::vector<Piece> pieces_;
  std::vector<std::shared_ptr<void>> files_;
  uint32_t slot_ = 0, tokens_ = 0, position_base_ = 0;
  uint64_t generation_ = 0, lease_ns_ = 0;
};

// The reader's side, in another process. One thread at a time.
class LatentReader {
 public:
  // Throws not_found-like unusable_directory where nobody listens.
  LatentReader(const std::string& path, AgentId agent, uint32_t tenant, const Digest& ticket);
  ~LatentReader();

  // The next hand-off; null after `timeout_ms` without one. Throws latent_corrupt (the message was
  // not made with this ticket), closed (the owner is gone).
  std::unique_ptr<RemoteLatent> receive(int timeout_ms);

 private:
  std::shared_ptr<RemoteLatent::Connection> connection_;
};

}  // namespace hanse
