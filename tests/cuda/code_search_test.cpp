// The device's search by codes against a plain loop over the same codes, bit for bit.
#include <cmath>
#include <cstring>
#include <limits>

#include "base/random.hpp"
#include "device_under_test.hpp"

namespace hanse {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

struct Columns {
  std::vector<int64_t> prices;
  std::vector<uint64_t> skills, policy_bits;
  std::vector<uint32_t> tenants;
  std::vector<uint16_t> regions;
  std::vector<uint8_t> tiers, live;
};

Columns random_columns(Random& random, uint32_t count) {
  Columns columns;
  for (uint32_t i = 0; i < count; ++i) {
    columns.prices.push_back(int64_t(random.below(100)));
    columns.skills.push_back(random.next());
    columns.policy_bits.push_back(random.next() & random.next());
    columns.tenants.push_back(uint32_t(random.below(3)));
    columns.regions.push_back(uint16_t(random.below(4)));
    columns.tiers.push_back(uint8_t(random.below(5)));
    columns.live.push_back(random.below(10) != 0);
  }
  return columns;
}

// A space on the device with room for `capacity` rows; nothing is there before it is written.
class ResidentSpace {
 public:
  ResidentSpace(const DeviceTable& table, uint32_t capacity, uint32_t stride, DeviceFormat format)
      : table_(table),
        codes_(table, size_t(capacity) * stride * 2),
        scales_(table, capacity * 4ul),
        vectors_(table, size_t(capacity) * stride * 4),
        prices_(table, capacity * 8ul),
        skills_(table, capacity * 8ul),
        policy_(table, capacity * 8ul),
        tenants_(table, capacity * 4ul),
        regions_(table, capacity * 2ul),
        tiers_(table, capacity),
        live_(table, capacity) {
    space = {capacity,
             stride,
             format,
             0,
             codes_.as<void>(),
             scales_.as<float>(),
             vectors_.as<float>(),
             prices_.as<int64_t>(),
             skills_.as<uint64_t>(),
             policy_.as<uint64_t>(),
             tenants_.as<uint32_t>(),
             regions_.as<uint16_t>(),
             tiers_.as<uint8_t>(),
             live_.as<uint8_t>()};
  }

  void write(const std::vector<uint32_t>& rows, const std::vector<float>& vectors,
             const Columns& columns) {
    const DeviceMemory device_rows(table_, rows), device_vectors(table_, vectors);
    const DeviceMemory prices(table_, columns.prices), skills(table_, columns.skills),
        policy(table_, columns.policy_bits), tenants(table_, columns.tenants),
        regions(table_, columns.regions), tiers(table_, columns.tiers), live(table_, columns.live);
    const DeviceRows written{
        uint32_t(rows.size()),      0,
        device_rows.as<uint32_t>(), vectors.empty() ? nullptr : device_vectors.as<float>(),
        prices.as<int64_t>(),       skills.as<uint64_t>(),
        policy.as<uint64_t>(),      tenants.as<uint32_t>(),
        regions.as<uint16_t>(),     tiers.as<uint8_t>(),
        live.as<uint8_t>()};
    check_device(table_, "write_rows", table_.write_rows(&space, &written, nullptr));
    check_device(table_, "synchronize", table_.synchronize(nullptr));
  }

  DeviceSpace space;

 private:
  const DeviceTable& table_;
  DeviceMemory codes_, scales_, vectors_, prices_, skills_, policy_, tenants_, regions_, tiers_,
      live_;
};

// --- the reference

struct Codes {
  std::vector<float> values;
  float scale;
};

Codes encode(const float* vector, uint32_t stride, DeviceFormat format) {
  Codes codes{std::vector<float>(stride), 1};
  if (format == DeviceFormat::bfloat16) {
    for (uint32_t d = 0; d < stride; ++d) {
      uint32_t bits;
      std::memcpy(&bits, vector + d, 4);
      bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
      std::memcpy(&codes.values[d], &bits, 4);
    }
    return codes;
  }
  float largest = 0;
  for (uint32_t d = 0; d < stride; ++d) largest = std::max(largest, std::fabs(vector[d]));
  const float inverse = largest > 0 ? 127.0f / largest : 0;
  for (uint32_t d = 0; d < stride; ++d) codes.values[d] = std::rint(vector[d] * inverse);
  codes.scale = largest / 127.0f;
  return codes;
}

float exact_score(const float* a, const float* b, uint32_t stride) {
  float sums[32] = {};
  for (uint32_t d = 0; d < stride; ++d) sums[d / 4 % 32] = std::fma(a[d], b[d], sums[d / 4 % 32]);
  for (uint32_t step = 16; step > 0; step /= 2) {
    float next[32];
    for (uint32_t lane = 0; lane < 32; ++lane) next[lane] = sums[lane] + sums[lane ^ step];
    std::copy_n(next, 32, sums);
  }
  return sums[0];
}

bool passes(const Columns& columns, const DeviceFilter& filter, uint32_t row) {
  const uint64_t skills = columns.skills[row], policy = columns.policy_bits[row];
  return columns.live[row] && columns.prices[row] <= filter.price_max &&
         (skills & filter.skills_all) == filter.skills_all && (skills & filter.skills_none) == 0 &&
         (filter.skills_any == 0 || (skills & filter.skills_any) != 0) &&
         (policy & filter.policy_all) == filter.policy_all && (policy & filter.policy_none) == 0 &&
         columns.tiers[row] >= filter.tier_min && columns.tiers[row] <= filter.tier_max &&
         (filter.region == UINT32_MAX || columns.regions[row] == filter.region) &&
         (filter.tenant == UINT32_MAX || columns.tenants[row] == filter.tenant);
}

struct Case {
  uint32_t query_count, row_count, stride, k, candidates;
  DeviceFormat format;
  bool own_filters, masked;
};

struct Data {
  std::vector<float> queries, vectors;
  Columns columns;
  std::vector<DeviceFilter> filters;
  std::vector<uint64_t> mask;
};

struct Answer {
  std::vector<uint32_t> rows;
  std::vector<float> scores;
};

using Found = std::vector<std::pair<float, uint32_t>>;  // (-score, row)

Answer expect(const Case& c, const Data& data) {
  Answer answer;
  std::vector<Codes> rows;
  for (uint32_t row = 0; row < c.row_count; ++row)
    rows.push_back(encode(&data.vectors[row * c.stride], c.stride, c.format));
  for (uint32_t q = 0; q < c.query_count; ++q) {
    const float* query = &data.queries[q * c.stride];
    const Codes codes = encode(query, c.stride, c.format);
    Found found, exact;
    for (uint32_t row = 0; row < c.row_count; ++row) {
      if (c.masked && !(data.mask[row / 64] >> row % 64 & 1)) continue;
      if (!passes(data.columns, data.filters[c.own_filters ? q : 0], row)) continue;
      double sum = 0;
      for (uint32_t d = 0; d < c.stride; ++d) sum += double(codes.values[d]) * rows[row].values[d];
      found.emplace_back(-(float(sum) * rows[row].scale), row);
    }
    std::sort(found.begin(), found.end());
    found.resize(std::min<size_t>(found.size(), c.candidates));
    for (const auto& [score, row] : found)
      exact.emplace_back(-exact_score(query, &data.vectors[row * c.stride], c.stride), row);
    std::sort(exact.begin(), exact.end());
    for (uint32_t i = 0; i < c.k; ++i) {
      answer.rows.push_back(i < exact.size() ? exact[i].second : UINT32_MAX);
      answer.scores.push_back(i < exact.size() ? -exact[i].first : -infinity);
    }
  }
  return answer;
}

Answer ask(const DeviceTable& table, const Case& c, const Data& data, const DeviceSpace& space,
           void* stream = nullptr) {
  const size_t cells = size_t(c.query_count) * c.k;
  const DeviceMemory queries(table, data.queries), filters(table, data.filters),
      mask(table, data.mask);
  const DeviceMemory rows(table, cells * 4), scores(table, cells * 4);
  DeviceCodeSearch search{};
  search.space = &space;
  search.device_queries = queries.as<float>();
  search.device_filters = filters.as<DeviceFilter>();
  search.device_mask = c.masked ? mask.as<uint64_t>() : nullptr;
  search.filter_stride = c.own_filters;
  search.query_count = c.query_count;
  search.k = c.k;
  search.candidates = c.candidates;
  search.device_rows_out = rows.as<uint32_t>();
  search.device_scores_out = scores.as<float>();
  const DeviceMemory workspace(table, table.code_search_workspace_bytes(&search));
  search.device_workspace = workspace.as<void>();
  check_device(table, "synchronize", table.synchronize(nullptr));  // inputs came by that stream
  check_device(table, "code_search", table.code_search(&search, stream));
  check_device(table, "synchronize", table.synchronize(stream));
  return {rows.read<uint32_t>(cells), scores.read<float>(cells)};
}

DeviceFilter random_filter(Random& random) {
  return {int64_t(40 + random.below(60)),
          1ull << random.below(64),
          random.next(),
          0,
          0,
          1ull << random.below(64),
          random.below(2) ? UINT32_MAX : uint32_t(random.below(3)),
          random.below(2) ? UINT32_MAX : uint32_t(random.below(4)),
          uint32_t(random.below(2)),
          4};
}

// `whole`: small integers whose largest is 127 in every vector, so that int8 codes are the values
// themselves and ties are common.
Data random_data(Random& random, const Case& c, bool whole) {
  Data data;
  data.queries.resize(size_t(c.query_count) * c.stride);
  data.vectors.resize(size_t(c.row_count) * c.stride);
  for (std::vector<float>* values : {&data.queries, &data.vectors}) {
    for (size_t i = 0; i < values->size(); ++i) {
      if (whole)
        (*values)[i] = i % c.stride == 0 ? 127 : float(random.below(3)) - 1;
      else
        (*values)[i] = float(random.below(2001)) / 1000 - 1;
    }
  }
  data.columns = random_columns(random, c.row_count);
  const DeviceFilter everyone{INT64_MAX, 0, 0, 0, 0, 0, UINT32_MAX, UINT32_MAX, 0, 255};
  for (uint32_t q = 0; q < (c.own_filters ? c.query_count : 1); ++q)
    data.filters.push_back(c.own_filters ? random_filter(random) : everyone);
  data.mask.resize((c.row_count + 63) / 64);
  for (uint64_t& word : data.mask) word = random.next();
  return data;
}

void expect_parity(const DeviceTable& table, const Case& c, bool whole, uint64_t seed) {
  Random random(seed);
  const Data data = random_data(random, c, whole);
  ResidentSpace resident(table, std::max(c.row_count, 1u), c.stride, c.format);
  resident.space.row_count = c.row_count;
  std::vector<uint32_t> rows(c.row_count);
  for (uint32_t i = 0; i < c.row_count; ++i) rows[i] = i;
  resident.write(rows, data.vectors, data.columns);
  const Answer want = expect(c, data), got = ask(table, c, data, resident.space);
  EXPECT_EQ(got.rows, want.rows);
  EXPECT_EQ(got.scores, want.scores);
}

constexpr DeviceFormat int8 = DeviceFormat::int8, bfloat16 = DeviceFormat::bfloat16;

TEST(DeviceCodeSearch, AnswersWholeNumbersAsALoopWithTheSameOrderOfTies) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    for (const Case& c :
         {Case{1, 1, 64, 1, 1, int8, false, false}, Case{3, 65, 64, 5, 12, int8, false, true},
          Case{65, 130, 128, 10, 32, int8, true, false},
          Case{2, 300, 64, 3, 64, bfloat16, true, true},
          Case{7, 63, 64, 20, 64, bfloat16, false, false}})
      expect_parity(table, c, true, 5);
  });
}

// Codes are integers, so their products are exact, and so is the order that they give; the scores
// follow one order of operations. Nothing here is approximate but the codes themselves.
TEST(DeviceCodeSearch, AnswersRealNumbersBitForBitInInt8) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    for (const Case& c : {Case{2, 200, 192, 10, 40, int8, false, false},
                          Case{33, 100, 64, 4, 16, int8, true, true}})
      expect_parity(table, c, false, 9);
  });
}

TEST(DeviceCodeSearch, PadsWhereFewRowsAreFeasible) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    expect_parity(table, {4, 0, 64, 5, 10, int8, false, false}, true, 1);
    Random random(3);
    const Case c{2, 70, 64, 8, 8, int8, false, false};
    Data data = random_data(random, c, true);
    data.filters[0].price_max = -1;
    ResidentSpace resident(table, c.row_count, c.stride, c.format);
    std::vector<uint32_t> rows(c.row_count);
    for (uint32_t i = 0; i < c.row_count; ++i) rows[i] = i;
    resident.write(rows, data.vectors, data.columns);
    const Answer got = ask(table, c, data, resident.space);
    EXPECT_EQ(got.rows, std::vector<uint32_t>(16, UINT32_MAX));
    EXPECT_EQ(got.scores, std::vector<float>(16, -infinity));
  });
}

TEST(DeviceCodeSearch, SeesARowThatWasWrittenAnewAndNoOther) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    Random random(17);
    const Case c{3, 150, 64, 6, 20, int8, false, false};
    Data data = random_data(random, c, true);
    ResidentSpace resident(table, c.row_count, c.stride, c.format);
    std::vector<uint32_t> rows(c.row_count);
    for (uint32_t i = 0; i < c.row_count; ++i) rows[i] = i;
    resident.write(rows, data.vectors, data.columns);

    const std::vector<uint32_t> changed = {149, 3, 64};
    const Columns columns = random_columns(random, 3);
    std::vector<float> vectors;
    for (size_t i = 0; i < changed.size(); ++i) {
      for (uint32_t d = 0; d < c.stride; ++d) {
        const float value = d == 0 ? 127 : float(random.below(5)) - 2;
        vectors.push_back(value);
        data.vectors[changed[i] * c.stride + d] = value;
      }
      data.columns.prices[changed[i]] = columns.prices[i];
      data.columns.live[changed[i]] = columns.live[i];
    }
    resident.write(changed, vectors, columns);
    const Answer want = expect(c, data), got = ask(table, c, data, resident.space);
    EXPECT_EQ(got.rows, want.rows);
    EXPECT_EQ(got.scores, want.scores);
  });
}

// Streams run in any order that nothing forbids, so work that left its stream would be seen.
TEST(DeviceCodeSearch, StaysOnTheStreamThatItIsGiven) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    Random random(23);
    const Case c{3, 100, 64, 6, 20, int8, false, false};
    const Data data = random_data(random, c, true);
    ResidentSpace resident(table, c.row_count, c.stride, c.format);
    std::vector<uint32_t> rows(c.row_count);
    for (uint32_t i = 0; i < c.row_count; ++i) rows[i] = i;
    resident.write(rows, data.vectors, data.columns);
    void* stream = nullptr;
    check_device(table, "stream_create", table.stream_create(&stream));
    check_device(table, "stream_after", table.stream_after(stream, nullptr));
    const Answer want = expect(c, data), got = ask(table, c, data, resident.space, stream);
    EXPECT_EQ(got.rows, want.rows);
    EXPECT_EQ(got.scores, want.scores);
    check_device(table, "stream_destroy", table.stream_destroy(stream));
  });
}

TEST(DeviceCodeSearch, RefusesWhatItsListsOrProductsCannotHold) {
  HANSE_DEVICE_OR_SKIP(table);
  DeviceSpace space{};
  space.stride = 64;
  DeviceCodeSearch search{};
  search.space = &space;
  search.query_count = 1;
  const auto refused = [&](uint32_t k, uint32_t candidates, uint32_t stride) {
    search.k = k;
    search.candidates = candidates;
    space.stride = stride;
    return table.code_search(&search, nullptr);
  };
  const std::string name = table.error_name(refused(0, 10, 64));
  EXPECT_EQ(name, "cudaErrorInvalidValue");
  EXPECT_NE(refused(11, 10, 64), 0);
  EXPECT_NE(refused(10, device_search_k_max + 1, 64), 0);
  EXPECT_NE(refused(10, 10, 96), 0);
  EXPECT_NE(refused(10, 10, 0), 0);
}

}  // namespace
}  // namespace hanse
