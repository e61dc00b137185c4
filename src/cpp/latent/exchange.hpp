// Latents for other processes of this host: a Unix socket hands over descriptors of memory files,
// then a hand-off is one message that names pages in files which the reader has mapped already.
//
// A reader maps only files of its own tenant; what belongs to another tenant, or lies in no file,
// is copied into a sealed file of its own. A word in shared memory says whether a hand-off still
// stands: revoking it is seen by every process at its next look. Pages stay taken until the reader
// lets go or its process ends, so that no page is used anew while someone may show it.
#pragma once

#include <deque>
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
  // What connected processes put and have not let go of, with the agent that they are. Their
  // handles end with them: whoever wants one to stay forks it, or has it kept.
  std::vector<std::pair<LatentId, AgentId>> puts() const;
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
  bool take_put(Reader& reader, Bytes message, std::vector<int>& files);
  LatentId adopt_file(Reader& reader, const struct WirePut& put, int& file);

  LatentPool& pool_;
  const std::string path_;
  const Digest key_;
  mutable std::mutex mutex_;
  int socket_ = -1;
  std::shared_ptr<Control> control_;
  std::vector<std::unique_ptr<Reader>> readers_;
  std::vector<uint8_t> buffer_;  // of the message that is read
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

  // Puts a latent into the owner's pool, as this agent. It counts there as any other, and its
  // handle lives until it is released or this process ends. The owner answers when it polls: throws
  // timed_out after `timeout_ms` (then it may have been put), closed, and what LatentPool::put
  // does.
  struct Terms {
    LatentTerms said;  // lease_ns counts from now; `whole` is not looked at
    bool kept = false;
    uint64_t cost = 0;  // as of LatentPool::keep
  };
  LatentId put(const LatentSpec& spec, const LatentSides& kv, uint32_t token_count,
               const Terms& terms, int timeout_ms);
  // The same of a memory file that this process has filled: the payload, contiguous in the order of
  // the spec, and then terms.said.tokens, if any. It is sealed here and stays the caller's. Throws
  // bad_array (it can't be sealed: something still maps it for writing, or it is another size).
  LatentId put_file(const LatentSpec& spec, int file, uint32_t token_count, const Terms& terms,
                    int timeout_ms);
  void release(LatentId latent);

 private:
  bool greeted(int timeout_ms);
  std::unique_ptr<RemoteLatent> remote_of(Bytes message, const std::vector<int>& files);

  std::shared_ptr<RemoteLatent::Connection> connection_;
  std::vector<uint8_t> buffer_;
  std::deque<std::unique_ptr<RemoteLatent>> early_;  // that came while an answer was awaited
  uint64_t request_ = 0;
};

}  // namespace hanse
