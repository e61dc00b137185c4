// What comes with an agent from elsewhere: its identity's history, its standing, its name. It is
// admitted or refused by a typed error, and what was admitted is replayed from its record.
#include "base/hash.hpp"
#include "fuzz.hpp"
#include "journal/simulated_disk.hpp"
#include "kernel/kernel.hpp"

using namespace hanse;

namespace {

Digest any_digest(fuzz::Input& input) {
  const auto what = input.take<uint8_t>();
  Digest digest{};
  digest[0] = uint8_t(what % 8);
  if (what % 2 != 0) return sha256(digest);
  return digest;
}

IdentityEntry any_entry(fuzz::Input& input, const Digest& head) {
  IdentityEntry entry;
  entry.step = IdentityStep(input.take<uint8_t>() % 5);
  entry.previous = input.take<uint8_t>() % 4 != 0 ? head : any_digest(input);
  entry.signer = any_digest(input);
  entry.key = any_digest(input);
  entry.text = input.text(40);
  entry.signature.assign(input.take<uint8_t>() % 4 != 0 ? signature_size : input.take<uint8_t>(),
                         input.take<uint8_t>());
  return entry;
}

KernelOptions options(const std::shared_ptr<SimulatedDisk>& disk, bool read_only) {
  KernelOptions options;
  options.disk = disk;
  options.clock = std::make_shared<ManualClock>(1'700'000'000'000'000'000);
  options.background = false;
  options.seed = 1;
  options.read_only = read_only;
  options.segment_size_bytes_max = 1 << 16;
  return options;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const auto disk = std::make_shared<SimulatedDisk>();
  const auto kernel = Kernel::open(options(disk, false));
  for (int steps = 0; steps < 6 && !input.empty(); ++steps) {
    PassportAdmission passport;
    passport.parent = input.take<uint8_t>() % 3 != 0 ? id_none : input.take<uint64_t>();
    passport.name = input.text(60);
    passport.identity = any_digest(input);
    passport.source = any_digest(input);
    Digest head = passport.identity;
    for (auto left = input.take<uint8_t>() % 5; left > 0; --left) {
      passport.entries.push_back(any_entry(input, head));
      head = identity_entry_hash(passport.identity, uint32_t(passport.entries.size() - 1),
                                 passport.entries.back());
    }
    for (auto left = input.take<uint8_t>() % 3; left > 0; --left) {
      Standing standing;
      standing.success = input.take<uint64_t>();
      standing.failure = input.take<uint64_t>();
      standing.at_ns = input.take<uint64_t>();
      passport.standings.push_back({input.text(70), standing});
    }
    fuzz::typed([&] {
      const AgentId agent = kernel->admit(kernel->root(), passport);
      kernel->standings(kernel->root(), agent);
      kernel->identity(kernel->root(), agent);
      fuzz::typed([&] {
        kernel->change_identity(kernel->root(), agent,
                                any_entry(input, kernel->identity(kernel->root(), agent).head));
      });
    });
  }
  const Digest state = kernel->state_hash().all;
  kernel->close();
  const auto again = Kernel::open(options(std::shared_ptr<SimulatedDisk>(disk->restart()), true));
  fuzz::require(again->state_hash().all == state);
  return 0;
}
