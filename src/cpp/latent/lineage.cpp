#include "latent/lineage.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "latent/prefix_index.hpp"

namespace hanse {

namespace {

// Of unhashed ancestors in a row: no digest is asked for deeper, and no chain is freed deeper.
constexpr uint32_t depth_max = 32;

}  // namespace

Lineage::Lineage(uint64_t seed, const Origin& origin, std::vector<std::shared_ptr<Lineage>> parents)
    : seed_(seed), origin_(origin), parents_(std::move(parents)) {
  for (const auto& parent : parents_) {
    std::unique_lock lock(parent->mutex_);
    if (!parent->content_) depth_ = std::max(depth_, parent->depth_ + 1);
  }
  if (depth_ >= depth_max) content();
}

const Digest& Lineage::content() {
  std::lock_guard lock(mutex_);
  if (content_) return *content_;
  for (const auto& parent : parents_) parent_digests_.push_back(parent->content());
  parents_.clear();

  ByteWriter writer;
  writer.put_text("hanse latent");
  writer.put(seed_);
  writer.put_text(origin_.part);
  writer.put_digest(origin_.fingerprint);
  if (parent_digests_.empty()) writer.put_digest(Digest{});
  for (const Digest& parent : parent_digests_) writer.put_digest(parent);
  writer.put(origin_.position);
  writer.put(origin_.token_count);
  if (!origin_.run) {
    writer.put(uint8_t(0));
    writer.put(origin_.producer);
    writer.put(origin_.step);
  } else {
    writer.put(uint8_t(1));
    const uint32_t* first = origin_.run->ids.get() + origin_.run_first;
    writer.put_raw(
        {reinterpret_cast<const uint8_t*>(first), size_t(origin_.token_count) * sizeof(uint32_t)});
  }
  content_ = sha256(writer.bytes());
  origin_.run.reset();
  return *content_;
}

Digest Lineage::parent() {
  content();
  std::lock_guard lock(mutex_);
  return parent_digests_.empty() ? Digest{} : parent_digests_.front();
}

}  // namespace hanse
