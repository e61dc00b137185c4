// Where evicted latents go: files that one thread writes and reads back, each named by the digest
// of what it holds.
//
// The manifest (spec, tokens, lineage, shares, label, lease) stays in memory; only the payload goes
// to disk, and nothing of it is believed before its digest is checked. Everything is bounded: what
// finds no room, no place in the queue or no disk is dropped and counted, and what is lost is a
// miss. Nobody waits for the disk but who asks to (`LatentPool::fetch`).
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "latent/state.hpp"

namespace hanse {

// Guarded by the pool's mutex; the thread gives it up while it reads, writes or hashes.
class LatentSpill {
 public:
  using Lock = LatentPool::State::Lock;
  // Removes what a process that was killed has left. Throws unusable_directory (it can't be made or
  // written to), locked (another pool uses it), out_of_range.
  LatentSpill(LatentPool::State& state, const LatentSpillOptions& options);
  // The mutex is not held. Ends the thread and removes the files.
  ~LatentSpill();
  LatentSpill(const LatentSpill&) = delete;
  LatentSpill& operator=(const LatentSpill&) = delete;

  // Just before the pool forgets an indexed body: it stays until it is written, and its pages don't
  // count as used meanwhile.
  void offer(const Lock&, LatentBody& body);
  // How many tokens the longest stored prefix has. Reading it begins where that is more than
  // `resident`.
  uint32_t expect(const Lock&, uint32_t tenant, const Digest& fingerprint,
                  std::span<const uint32_t> tokens, uint32_t resident);
  // The same of what was made without tokens. False: there is none.
  bool expect_step(const Lock&, uint64_t step_hash);
  // Until nothing that was asked for with `expect` is still under way, or until the deadline.
  void wait(Lock& lock, std::chrono::steady_clock::time_point until);
  void fill(const Lock&, LatentPoolStatus& status_out) const;

 private:
  struct Entry : PrefixEntry {
    std::unique_ptr<LatentBody> shell;  // all but its pages
    LatentImage image;
    LatentBody* body = nullptr;  // until it is written
    uint64_t lent_bytes = 0, size_bytes = 0;
    Digest digest{};
    bool stored = false, loading = false;
    std::list<Entry>::iterator at;
  };

  void run();
  void write(Lock& lock, Entry& entry);
  void load(Lock& lock, Entry& entry);
  bool admit(const Lock&, Entry& entry, std::vector<Page*>& pages,
             LatentPool::State::Remains& remains_out);
  bool make_room(const Lock&, uint64_t size_bytes);
  bool begin_to_load(const Lock&, Entry& entry);
  void remove(const Lock&, Entry& entry);
  std::string path_of(const Digest& digest) const;

  LatentPool::State& state_;
  const LatentSpillOptions options_;
  int lock_file_ = -1;
  std::list<Entry> entries_;  // oldest first
  PrefixIndex prefixes_;
  std::map<uint64_t, Entry*> steps_;
  std::map<Digest, uint32_t> files_;  // how many entries each serves
  std::deque<Entry*> queue_;          // to be written, or loaded where it is stored
  std::condition_variable work_, done_;
  bool ending_ = false;
  uint32_t loading_count_ = 0;
  uint64_t file_bytes_ = 0, staging_bytes_ = 0;
  uint64_t written_count_ = 0, loaded_count_ = 0, dropped_count_ = 0, lost_count_ = 0;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace hanse
