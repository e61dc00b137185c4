#include "kernel/device_check.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <utility>

#include "base/error.hpp"
#include "base/random.hpp"
#include "latent/transform.hpp"

namespace hanse {

namespace {

constexpr uint32_t size_max = 1'000'000;
constexpr uint32_t query_count = 64, stride = 128, k = 10, candidates = 32;
constexpr uint32_t layers = 2, heads = 4, dim = 64, bits = 8;
constexpr int runs = 5;

class Held {
 public:
  Held(const DeviceTable& table, uint64_t size_bytes) : table_(table) {
    check_device(table, "allocate", table.allocate(std::max<uint64_t>(size_bytes, 1), &memory_));
  }
  template <class T>
  Held(const DeviceTable& table, const std::vector<T>& from)
      : Held(table, from.size() * sizeof(T)) {
    check_device(table, "copy_to_device",
                 table.copy_to_device(memory_, from.data(), from.size() * sizeof(T), nullptr));
  }
  ~Held() { table_.release(memory_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  template <class T>
  std::vector<T> read(size_t count) const {
    std::vector<T> out(count);
    check_device(table_, "copy_from_device",
                 table_.copy_from_device(out.data(), memory_, count * sizeof(T), nullptr));
    check_device(table_, "synchronize", table_.synchronize(nullptr));
    return out;
  }

 private:
  const DeviceTable& table_;
  void* memory_ = nullptr;
};

double median_us(const DeviceTable& table, const char* what, const std::function<int32_t()>& run) {
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    check_device(table, what, run());
    check_device(table, what, table.synchronize(nullptr));
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun)
            .count());
  }
  std::sort(times.begin(), times.end());
  return times[runs / 2];
}

template <class T>
uint64_t differences(const std::vector<T>& a, const std::vector<T>& b) {
  uint64_t wrong = 0;
  for (size_t i = 0; i < a.size(); ++i) wrong += std::memcmp(&a[i], &b[i], sizeof(T)) != 0;
  return wrong;
}

// Whole numbers whose largest is 127: the codes are the values, so every sum is exact.
std::vector<float> whole_numbers(Random& random, uint64_t rows) {
  std::vector<float> values(rows * stride);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = i % stride == 0 ? 127 : float(random.below(15)) - 7;
  return values;
}

std::vector<uint32_t> best_rows(const std::vector<float>& queries,
                                const std::vector<float>& vectors, uint32_t rows) {
  std::vector<uint32_t> best;
  std::vector<std::pair<float, uint32_t>> found(rows);
  for (uint32_t q = 0; q < query_count; ++q) {
    for (uint32_t row = 0; row < rows; ++row) {
      float sum = 0;
      for (uint32_t d = 0; d < stride; ++d)
        sum += queries[q * stride + d] * vectors[size_t(row) * stride + d];
      found[row] = {-sum, row};
    }
    const uint32_t kept = std::min(k, rows);
    std::partial_sort(found.begin(), found.begin() + kept, found.end());
    for (uint32_t i = 0; i < k; ++i) best.push_back(i < kept ? found[i].second : UINT32_MAX);
  }
  return best;
}

template <class T>
std::vector<T> all(uint32_t count, T value) {
  return std::vector<T>(count, value);
}

DeviceCheck check_search(const DeviceTable& table, uint32_t rows) {
  Random random(61);
  const std::vector<float> queries = whole_numbers(random, query_count);
  const std::vector<float> vectors = whole_numbers(random, rows);
  std::vector<uint32_t> numbers(rows);
  for (uint32_t i = 0; i < rows; ++i) numbers[i] = i;
  const Held codes(table, uint64_t(rows) * stride), scales(table, rows * 4ull);
  const Held kept(table, uint64_t(rows) * stride * 4), given(table, vectors);
  const Held row_numbers(table, numbers), prices(table, all<int64_t>(rows, 0));
  const Held words(table, all<uint64_t>(rows, 0)), tenants(table, all<uint32_t>(rows, 0));
  const Held regions(table, all<uint16_t>(rows, 0)), live(table, all<uint8_t>(rows, 1));
  const Held price_column(table, rows * 8ull), skills(table, rows * 8ull);
  const Held policy(table, rows * 8ull), tenant_column(table, rows * 4ull);
  const Held region_column(table, rows * 2ull), tiers(table, rows), live_column(table, rows);
  const DeviceSpace space{rows,
                          stride,
                          DeviceFormat::int8,
                          0,
                          codes.as<void>(),
                          scales.as<float>(),
                          kept.as<float>(),
                          price_column.as<int64_t>(),
                          skills.as<uint64_t>(),
                          policy.as<uint64_t>(),
                          tenant_column.as<uint32_t>(),
                          region_column.as<uint16_t>(),
                          tiers.as<uint8_t>(),
                          live_column.as<uint8_t>()};
  const DeviceRows written{rows,
                           0,
                           row_numbers.as<uint32_t>(),
                           given.as<float>(),
                           prices.as<int64_t>(),
                           words.as<uint64_t>(),
                           words.as<uint64_t>(),
                           tenants.as<uint32_t>(),
                           regions.as<uint16_t>(),
                           live.as<uint8_t>(),
                           live.as<uint8_t>()};
  check_device(table, "write_rows", table.write_rows(&space, &written, nullptr));

  const DeviceFilter everyone{INT64_MAX, 0, 0, 0, 0, 0, UINT32_MAX, UINT32_MAX, 0, 255};
  const Held device_queries(table, queries), filters(table, std::vector{everyone});
  const Held rows_out(table, query_count * k * 4ull), scores_out(table, query_count * k * 4ull);
  DeviceCodeSearch search{};
  search.space = &space;
  search.device_queries = device_queries.as<float>();
  search.device_filters = filters.as<DeviceFilter>();
  search.query_count = query_count;
  search.k = k;
  search.candidates = candidates;
  search.device_rows_out = rows_out.as<uint32_t>();
  search.device_scores_out = scores_out.as<float>();
  const Held workspace(table, table.code_search_workspace_bytes(&search));
  search.device_workspace = workspace.as<void>();
  const double took =
      median_us(table, "code_search", [&] { return table.code_search(&search, nullptr); });
  const uint64_t wrong = differences(best_rows(queries, vectors, rows),
                                     rows_out.read<uint32_t>(size_t(query_count) * k));
  return {"code_search int8", wrong == 0, wrong, took, uint64_t(rows) * (stride + 4)};
}

struct Latents {
  Latents(const DeviceTable& table, uint32_t tokens)
      : kv(size_t(2 * layers) * tokens * heads * dim),
        page_bytes(uint64_t(2 * layers) * device_page_tokens * heads * dim * sizeof(float)),
        pages(table, tokens / device_page_tokens * page_bytes),
        flat(table, kv.size() * sizeof(float)),
        page_table(table, uint64_t(tokens) / device_page_tokens * 4) {}

  std::vector<float> kv;
  uint64_t page_bytes;
  Held pages, flat, page_table;
};

// In pages whose order is turned round, and out again.
DeviceCheck check_pages(const DeviceTable& table, Latents& latents, uint32_t tokens,
                        DevicePages& pages_out) {
  Random random(67);
  for (float& value : latents.kv) value = float(random.below(2'000'001)) / 100'000 - 10;
  std::vector<uint32_t> numbers(tokens / device_page_tokens);
  for (uint32_t i = 0; i < numbers.size(); ++i) numbers[i] = uint32_t(numbers.size()) - 1 - i;
  check_device(table, "copy_to_device",
               table.copy_to_device(latents.flat.as<void>(), latents.kv.data(),
                                    latents.kv.size() * sizeof(float), nullptr));
  check_device(table, "copy_to_device",
               table.copy_to_device(latents.page_table.as<void>(), numbers.data(),
                                    numbers.size() * 4, nullptr));
  DevicePageCopy copy{};
  copy.pages = {latents.pages.as<uint8_t>(), latents.page_table.as<uint32_t>(), latents.page_bytes,
                0, 0};
  copy.device_planes = latents.flat.as<uint8_t>();
  copy.head_stride = dim * sizeof(float);
  copy.token_stride = copy.head_stride * heads;
  copy.plane_stride = copy.token_stride * tokens;
  copy.planes = 2 * layers;
  copy.tokens = tokens;
  copy.heads = heads;
  copy.dim = dim;
  copy.to_pages = 1;
  check_device(table, "copy_pages", table.copy_pages(&copy, nullptr));
  check_device(table, "fill",
               table.fill(latents.flat.as<void>(), 0, latents.kv.size() * sizeof(float), nullptr));
  copy.to_pages = 0;
  const double took =
      median_us(table, "copy_pages", [&] { return table.copy_pages(&copy, nullptr); });
  const uint64_t wrong = differences(latents.kv, latents.flat.read<float>(latents.kv.size()));
  pages_out = copy.pages;
  return {"copy_pages", wrong == 0, wrong, took, 2 * latents.kv.size() * sizeof(float)};
}

DeviceCheck check_quantise(const DeviceTable& table, const Latents& latents, uint32_t tokens,
                           const DevicePages& pages) {
  LatentSpec spec;
  spec.layers = layers;
  spec.kv_heads = heads;
  spec.head_dim = dim;
  std::vector<uint8_t> want(kivi_size_bytes(spec, tokens, bits, 0));
  kivi_quantise(spec, latents.kv, tokens, bits, 0, want);
  const Held packed(table, want.size()), not_finite(table, std::vector<uint32_t>{0});
  const DeviceQuantise job{
      pages, packed.as<uint8_t>(),     layers, tokens / device_group_tokens, heads, dim, bits,
      0,     not_finite.as<uint32_t>()};
  const double took =
      median_us(table, "quantise_pages", [&] { return table.quantise_pages(&job, nullptr); });
  const uint64_t wrong = differences(want, packed.read<uint8_t>(want.size()));
  return {"quantise_pages 8 bits", wrong == 0, wrong, took,
          latents.kv.size() * sizeof(float) + want.size()};
}

}  // namespace

std::vector<DeviceCheck> check_device_answers(const DeviceTable& table, uint32_t rows,
                                              uint32_t tokens) {
  if (rows == 0 || rows > size_max) throw Error(ErrorCode::out_of_range, "rows", rows, size_max);
  if (tokens == 0 || tokens > size_max || tokens % device_group_tokens != 0)
    throw Error(ErrorCode::out_of_range, "tokens",
                "want a multiple of 32 up to a million, have " + std::to_string(tokens));
  std::vector<DeviceCheck> checks = {check_search(table, rows)};
  Latents latents(table, tokens);
  DevicePages pages{};
  checks.push_back(check_pages(table, latents, tokens, pages));
  checks.push_back(check_quantise(table, latents, tokens, pages));
  return checks;
}

}  // namespace hanse
