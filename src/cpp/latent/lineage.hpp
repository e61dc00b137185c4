// Where a latent comes from, and the keyed hash over it that names its content.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.hpp"

namespace hanse {

struct TokenRun;

// Hashed only when someone asks: over 3,200 tokens that takes ten times as long as everything else
// that storing a latent's tokens does.
class Lineage {
 public:
  struct Origin {
    std::string_view part;  // tells the ways of making a latent apart
    Digest fingerprint{};
    uint32_t position = 0, token_count = 0;
    std::shared_ptr<TokenRun> run;  // null: (producer, step) names it
    uint32_t run_first = 0;         // its tokens are run[run_first, run_first + token_count)
    AgentId producer = id_none;
    uint64_t step = 0;
  };
  Lineage(uint64_t seed, const Origin& origin, std::vector<std::shared_ptr<Lineage>> parents);

  const Digest& content();  // any thread
  Digest parent();          // of the first one; zero: none
  AgentId producer() const { return origin_.producer; }
  uint64_t step() const { return origin_.step; }

 private:
  const uint64_t seed_;
  std::mutex mutex_;
  Origin origin_;
  std::vector<std::shared_ptr<Lineage>> parents_;  // until their digests are known
  std::vector<Digest> parent_digests_;
  std::optional<Digest> content_;
  uint32_t depth_ = 1;
};

}  // namespace hanse
