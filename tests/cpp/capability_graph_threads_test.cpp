#include <atomic>
#include <thread>

#include "capability_codes_fixture.hpp"

namespace hanse {
namespace {

TEST(CapabilityGraphThreads, ReadersFindOnlyWhatIsThereWhileAWriterChangesEverything) {
  constexpr uint32_t count = 1200, kept = 200;
  CodeTable codes(32, {1, cpu_level()});
  Clusters clusters(32, 10, 11);
  Rows rows = fill(codes, clusters, count);
  Graph graph(codes, {.degree = 16, .build_width = 32});
  graph.update(rows_below(count), 2);

  // Rows below `kept` never change, and those of the top fifth are erased before readers start.
  std::vector<uint32_t> gone;
  for (uint32_t row = count * 4 / 5; row < count; ++row) gone.push_back(row);
  for (const uint32_t row : gone) codes.erase(row);

  std::atomic<bool> stop{false};
  std::atomic<uint32_t> searches{0}, self_found{0}, wrong{0};
  const auto read = [&](uint64_t seed) {
    Random random(seed);
    GraphScratch scratch;
    ScanScratch scan;
    CodeQuery query;
    Candidate8 out[10];
    while (!stop) {
      const auto row = uint32_t(random.below(kept));
      codes.prepare(rows.at(row).data(), query);
      const GraphAnswer answer = graph.search(query, {.keep = 10, .width = 32}, scratch, out);
      for (uint32_t i = 0; i < answer.count; ++i) wrong += out[i].row >= count * 4 / 5;
      self_found += answer.count > 0 && out[0].row == row;
      ++searches;
      const uint32_t scanned = codes.scan(query, {}, 10, 0, scan, out);
      wrong += scanned != 10 || out[0].row != row;
    }
  };
  std::thread first(read, 1), second(read, 2);
  graph.update(gone, 2);
  Random random(3);
  std::vector<float> fresh;
  while (searches < 100) std::this_thread::yield();
  for (uint32_t round = 0; round < 60; ++round) {
    std::vector<uint32_t> changed;
    for (uint32_t i = 0; i < 40; ++i) {
      changed.push_back(kept + uint32_t(random.below(count * 4 / 5 - kept)));
      fresh = clusters.next();
      codes.write(changed.back(), fresh.data());
    }
    graph.update(changed, 2);
  }
  stop = true;
  first.join();
  second.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GE(self_found, searches * 98 / 100);
  EXPECT_TRUE(graph.unreachable().empty());
}

TEST(CapabilityGraphThreads, MoreReadersThanPlacesAllGetThrough) {
  ReadEpochs epochs;
  std::atomic<uint32_t> through{0};
  std::vector<std::thread> readers;
  for (uint32_t i = 0; i < ReadEpochs::reader_count_max + 20; ++i)
    readers.emplace_back([&] {
      for (uint32_t round = 0; round < 20; ++round) {
        const ReadEpochs::Guard outer(epochs);
        std::this_thread::yield();
      }
      ++through;
    });
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(through, readers.size());
  EXPECT_EQ(epochs.oldest(), UINT64_MAX);
}

TEST(CapabilityGraphThreads, NothingIsGivenBackWhileAReaderThatCouldSeeItIsThere) {
  ReadEpochs epochs;
  uint64_t mark = 0;
  {
    const ReadEpochs::Guard reader(epochs);
    mark = epochs.retire();
    EXPECT_LT(epochs.oldest(), mark);
    const ReadEpochs::Guard later(epochs);
    EXPECT_LT(epochs.oldest(), mark);
  }
  const ReadEpochs::Guard after(epochs);
  EXPECT_GE(epochs.oldest(), mark);
}

}  // namespace
}  // namespace hanse
