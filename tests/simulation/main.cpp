// hanse_simulation: runs schedules by seed.
//
//   --seed N            one seed, and its digest
//   --seeds FIRST:END   a range
//   --seconds S         as many from FIRST on as fit
//   --operations N      of each schedule's safety phase (2000)
//   --jobs N            processes (1)
//   --twice N           one seed of N is run twice and must come to the same digest (16; 0: none)
//   --first             stops at the first seed that fails
//   --coverage          fails unless every verb, record type and fault was reached
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/hash.hpp"
#include "kernel/records.hpp"
#include "simulation/schedule.hpp"

namespace hanse::simulation {
namespace {

struct Options {
  uint64_t first = 1, end = 101, operations = 2000, jobs = 1, twice = 16;
  double seconds = 0;
  bool one = false, coverage = false, first_only = false;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--coverage" || name == "--first") {
      (name == "--coverage" ? options.coverage : options.first_only) = true;
      continue;
    }
    const char* value = ++i < argc ? argv[i] : "";
    if (name == "--seed") {
      options.one = true;
      options.first = std::strtoull(value, nullptr, 0);
      options.end = options.first + 1;
    } else if (name == "--seeds") {
      char* colon = nullptr;
      options.first = std::strtoull(value, &colon, 0);
      options.end = *colon == ':' ? std::strtoull(colon + 1, nullptr, 0) : options.first + 1;
    } else if (name == "--operations") {
      options.operations = std::strtoull(value, nullptr, 0);
    } else if (name == "--jobs") {
      options.jobs = std::max(1ull, std::strtoull(value, nullptr, 0));
    } else if (name == "--twice") {
      options.twice = std::strtoull(value, nullptr, 0);
    } else if (name == "--seconds") {
      options.seconds = std::atof(value);
    } else {
      std::fprintf(stderr, "unknown option %s; see tests/README.md\n", name.c_str());
      std::exit(2);
    }
  }
  return options;
}

// True: the seed holds.
bool run_seed(uint64_t seed, const Options& options, Tally& tally) {
  try {
    const Digest digest = run_schedule(seed, options.operations, tally);
    if (options.one) std::printf("seed %lu: %s\n", seed, hex(digest).c_str());
    if (options.twice != 0 && seed % options.twice == 0) {
      Tally again;
      require(run_schedule(seed, options.operations, again) == digest,
              "the second run of the seed is another than the first");
    }
    return true;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "seed %lu (--seed %lu --operations %lu): %s\n", seed, seed,
                 options.operations, error.what());
    return false;
  }
}

struct Share {
  Tally tally;
  uint64_t failed = 0;
};

Share run_share(const Options& options, uint64_t job) {
  const auto start = std::chrono::steady_clock::now();
  Share share;
  for (uint64_t seed = options.first + job; seed < options.end; seed += options.jobs) {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    if (options.seconds != 0 && spent.count() >= options.seconds) break;
    if (!run_seed(seed, options, share.tally) && ++share.failed >= (options.first_only ? 1u : 20u))
      break;
  }
  return share;
}

// Numbers alone go through the pipe, in the order of `each`.
template <class F>
void each(Share& share, F&& f) {
  Tally& t = share.tally;
  f(share.failed), f(t.schedules), f(t.operations), f(t.records), f(t.recoveries);
  f(t.poisonings), f(t.proofs);
  for (uint64_t& one : t.faults) f(one);
  for (uint64_t& one : t.verbs) f(one);
  for (uint64_t& one : t.done) f(one);
  for (uint64_t& one : t.modes) f(one);
  for (uint16_t type = 0; type < 256; ++type) f(t.record_types[type]);
  for (int32_t code = 1000; code < 9100; ++code) f(t.errors[code]);
}

Share run_all(const Options& options) {
  if (options.jobs == 1) return run_share(options, 0);
  std::vector<int> pipes;
  for (uint64_t job = 0; job < options.jobs; ++job) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    if (fork() == 0) {
      Share share = run_share(options, job);
      std::FILE* out = fdopen(ends[1], "w");
      each(share, [&](uint64_t& value) { std::fwrite(&value, sizeof value, 1, out); });
      std::fclose(out);
      _exit(0);
    }
    close(ends[1]);
    pipes.push_back(ends[0]);
  }
  Share all;
  for (const int pipe_end : pipes) {
    Share share;
    bool whole = true;
    std::FILE* in = fdopen(pipe_end, "r");
    each(share, [&](uint64_t& value) { whole &= std::fread(&value, sizeof value, 1, in) == 1; });
    std::fclose(in);
    if (!whole) share.failed += 1, std::fprintf(stderr, "a process of the run died\n");
    all.failed += share.failed;
    all.tally.add(share.tally);
  }
  while (wait(nullptr) > 0) {
  }
  return all;
}

// Whose commands the generator does not draw and the model does not know. Their tests are
// durable_terms_test, test_durable_terms.py and test_latent_reads.py.
bool drawn(RecordType type) {
  return type != RecordType::durable_on_terms && type != RecordType::durable_resent &&
         type != RecordType::tasked_unpaid;
}

// Every command, every type of record and every kind of fault was reached.
bool print_coverage(const Tally& tally) {
  bool all = true;
  std::printf("commands, asked/done:");
  for (size_t i = 0; i < verb_count; ++i) {
    if (Verb(i) == Verb::reopen) continue;  // counted as recoveries
    std::printf(" %s %lu/%lu", verb_name(Verb(i)), tally.verbs[i], tally.done[i]);
    all &= tally.done[i] != 0;
  }
  std::printf("\nrecords:");
  for (uint16_t type = 1; type < 256; ++type) {
    const char* name = record_type_name(RecordType(type));
    if (std::strcmp(name, "unknown") == 0) continue;
    const auto found = tally.record_types.find(type);
    const uint64_t count = found == tally.record_types.end() ? 0 : found->second;
    std::printf(" %s %lu%s", name, count, drawn(RecordType(type)) ? "" : " (not drawn)");
    all &= count != 0 || !drawn(RecordType(type));
  }
  std::printf("\nfaults:");
  for (size_t i = 0; i < fault_name_count; ++i) {
    std::printf(" %s %lu", fault_name(FaultName(i)), tally.faults[i]);
    all &= tally.faults[i] != 0;
  }
  std::printf("\nunsynced bytes: none %lu, all %lu, random %lu, torn %lu\nrefusals:",
              tally.modes[0], tally.modes[1], tally.modes[2], tally.modes[3]);
  for (const auto& [code, count] : tally.errors)
    if (count != 0) std::printf(" %s %lu", error_code_info(ErrorCode(code)).name, count);
  std::printf("\n");
  return all;
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const auto start = std::chrono::steady_clock::now();
  const Share share = run_all(options);
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
  const Tally& tally = share.tally;
  const bool covered = print_coverage(tally);
  std::printf(
      "%lu schedules, %lu operations, %lu faults, %lu recoveries, %lu poisonings, "
      "%lu records, %lu proofs in %.1f s\n",
      tally.schedules, tally.operations, tally.fault_count(), tally.recoveries, tally.poisonings,
      tally.records, tally.proofs, spent.count());
  std::printf("failed: %lu", share.failed);
  // Hanley and Lippman-Hand 1983: with 0 of n, at most 3/n with 95 % confidence.
  if (share.failed == 0 && tally.schedules != 0)
    std::printf(" (rule of three: below %.2g of schedules, %.2g of operations, with 95 %%)",
                3.0 / double(tally.schedules), 3.0 / double(tally.operations));
  std::printf("\n");
  if (options.coverage && !covered) {
    std::printf("something was never reached\n");
    return 1;
  }
  return share.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace hanse::simulation

int main(int argc, char** argv) { return hanse::simulation::run(argc, argv); }
