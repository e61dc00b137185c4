// The device's copies and changes of latent pages against the CPU's, bit for bit.
#include <cmath>
#include <cstring>

#include "base/random.hpp"
#include "device_under_test.hpp"
#include "latent/transform.hpp"
#include "latent/transform_table.hpp"

namespace hanse {
namespace {

struct Shape {
  uint32_t planes, tokens, heads, dim, first;
  bool heads_first;
  DeviceElement element;

  uint32_t element_bytes() const {
    return element == DeviceElement::float32 ? 4 : element == DeviceElement::byte ? 1 : 2;
  }
  uint32_t page_count() const {
    return (first + tokens + device_page_tokens - 1) / device_page_tokens;
  }
  size_t page_bytes() const {
    return size_t(planes) * device_page_tokens * heads * dim * element_bytes();
  }
  size_t row(uint32_t plane, uint32_t token, uint32_t head) const {
    return (size_t(plane) * tokens + token) * heads + head;
  }
  // Of one head of one token, counted in rows from the start of all pages.
  size_t page_row(const std::vector<uint32_t>& table, uint32_t plane, uint32_t token,
                  uint32_t head) const {
    const uint32_t at = first + token, slot = at % device_page_tokens;
    const size_t inside =
        heads_first ? size_t(head) * device_page_tokens + slot : size_t(slot) * heads + head;
    return (size_t(table[at / device_page_tokens]) * planes + plane) * device_page_tokens * heads +
           inside;
  }
};

// More pages than are used, in no order.
std::vector<uint32_t> random_table(Random& random, uint32_t count) {
  std::vector<uint32_t> table(count + 2);
  for (uint32_t i = 0; i < table.size(); ++i) table[i] = i;
  for (uint32_t i = uint32_t(table.size()); i > 1; --i)
    std::swap(table[i - 1], table[random.below(i)]);
  return table;
}

std::vector<uint8_t> random_bytes(Random& random, size_t size_bytes) {
  std::vector<uint8_t> bytes(size_bytes);
  for (uint8_t& byte : bytes) byte = uint8_t(random.next());
  return bytes;
}

std::vector<uint8_t> random_values(Random& random, size_t count, DeviceElement element) {
  if (element == DeviceElement::byte) return random_bytes(random, count);
  std::vector<float> values(count);
  for (float& value : values) value = float(random.below(200001)) / 10000 - 10;
  std::vector<uint8_t> bytes(count * (element == DeviceElement::float32 ? 4 : 2));
  auto* narrow = reinterpret_cast<uint16_t*>(bytes.data());
  if (element == DeviceElement::float32) std::memcpy(bytes.data(), values.data(), bytes.size());
  if (element == DeviceElement::float16)
    transform_table_baseline.half_from_float(narrow, values.data(), count);
  if (element == DeviceElement::bfloat16)
    transform_table_baseline.brain_from_float(narrow, values.data(), count);
  return bytes;
}

DevicePageCopy copy_of(const Shape& shape, const DeviceMemory& pages, const DeviceMemory& table,
                       const DeviceMemory& planes, bool to_pages) {
  const uint64_t dim_bytes = uint64_t(shape.dim) * shape.element_bytes();
  DevicePageCopy copy{};
  copy.pages = {pages.as<uint8_t>(), table.as<uint32_t>(), shape.page_bytes(), shape.first,
                shape.heads_first};
  copy.device_planes = planes.as<uint8_t>();
  copy.head_stride = dim_bytes;
  copy.token_stride = dim_bytes * shape.heads;
  copy.plane_stride = copy.token_stride * shape.tokens;
  copy.planes = shape.planes;
  copy.tokens = shape.tokens;
  copy.heads = shape.heads;
  copy.dim = shape.dim;
  copy.element = shape.element;
  copy.to_pages = to_pages;
  return copy;
}

const std::vector<Shape> shapes = {{2, 1, 1, 4, 0, false, DeviceElement::float32},
                                   {4, 37, 3, 8, 5, false, DeviceElement::float32},
                                   {2, 33, 2, 16, 15, true, DeviceElement::float16},
                                   {2, 20, 3, 6, 0, true, DeviceElement::bfloat16},
                                   {2, 18, 1, 7, 3, false, DeviceElement::byte},
                                   {6, 16, 2, 64, 0, false, DeviceElement::float16}};

TEST(DeviceLatent, GathersWhatLiesInPagesAndScattersItBack) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    Random random(41);
    for (const Shape& shape : shapes) {
      const size_t dim_bytes = size_t(shape.dim) * shape.element_bytes();
      const std::vector<uint32_t> numbers = random_table(random, shape.page_count());
      const std::vector<uint8_t> pages = random_bytes(random, numbers.size() * shape.page_bytes());
      const size_t flat_bytes = size_t(shape.planes) * shape.tokens * shape.heads * dim_bytes;
      const DeviceMemory device_pages(table, pages), device_table(table, numbers);
      const DeviceMemory flat(table, flat_bytes);
      DevicePageCopy copy = copy_of(shape, device_pages, device_table, flat, false);
      check_device(table, "copy_pages", table.copy_pages(&copy, nullptr));
      const auto got = flat.read<uint8_t>(flat_bytes);
      std::vector<uint8_t> want(flat_bytes), scattered(pages.size(), 0xa5);
      for (uint32_t plane = 0; plane < shape.planes; ++plane)
        for (uint32_t token = 0; token < shape.tokens; ++token)
          for (uint32_t head = 0; head < shape.heads; ++head) {
            const size_t at = shape.page_row(numbers, plane, token, head) * dim_bytes;
            std::copy_n(&pages[at], dim_bytes, &want[shape.row(plane, token, head) * dim_bytes]);
            std::copy_n(&pages[at], dim_bytes, &scattered[at]);
          }
      EXPECT_EQ(got, want);

      check_device(table, "fill", table.fill(device_pages.as<void>(), 0xa5, pages.size(), nullptr));
      copy.to_pages = 1;
      check_device(table, "copy_pages", table.copy_pages(&copy, nullptr));
      EXPECT_EQ(device_pages.read<uint8_t>(pages.size()), scattered);
    }
  });
}

// What the CPU does with one row of a key plane.
void turn(const Shape& shape, const std::vector<float>& cosines, const std::vector<float>& sines,
          bool pairs, uint8_t* row) {
  std::vector<float> values(shape.dim);
  const TransformTable& cpu = transform_table_baseline;
  auto* narrow = reinterpret_cast<uint16_t*>(row);
  if (shape.element == DeviceElement::float32) std::memcpy(values.data(), row, shape.dim * 4ul);
  if (shape.element == DeviceElement::float16)
    cpu.float_from_half(values.data(), narrow, shape.dim);
  if (shape.element == DeviceElement::bfloat16)
    cpu.float_from_brain(values.data(), narrow, shape.dim);
  (pairs ? cpu.turn_pairs : cpu.turn_halves)(values.data(), 1, shape.dim, cosines.data(),
                                             sines.data(), uint32_t(cosines.size()));
  if (shape.element == DeviceElement::float32) std::memcpy(row, values.data(), shape.dim * 4ul);
  if (shape.element == DeviceElement::float16)
    cpu.half_from_float(narrow, values.data(), shape.dim);
  if (shape.element == DeviceElement::bfloat16)
    cpu.brain_from_float(narrow, values.data(), shape.dim);
}

TEST(DeviceLatent, TurnsKeysOnTheWayAsTheCpuDoes) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    Random random(43);
    for (const Shape& shape : shapes) {
      if (shape.element == DeviceElement::byte) continue;
      for (const bool pairs : {false, true}) {
        const size_t dim_bytes = size_t(shape.dim) * shape.element_bytes();
        const uint32_t half = shape.dim > 4 ? shape.dim / 2 - 1 : 1;
        std::vector<float> cosines, sines;
        for (uint32_t i = 0; i < half; ++i) {
          cosines.push_back(std::cos(float(i) * 1.7f));
          sines.push_back(std::sin(float(i) * 1.7f));
        }
        const std::vector<uint32_t> numbers = random_table(random, shape.page_count());
        const std::vector<uint8_t> pages = random_values(
            random, numbers.size() * shape.page_bytes() / shape.element_bytes(), shape.element);
        const size_t flat_bytes = size_t(shape.planes) * shape.tokens * shape.heads * dim_bytes;
        const DeviceMemory device_pages(table, pages), device_table(table, numbers);
        const DeviceMemory flat(table, flat_bytes), device_cosines(table, cosines),
            device_sines(table, sines);
        DevicePageCopy copy = copy_of(shape, device_pages, device_table, flat, false);
        copy.turn = {device_cosines.as<float>(), device_sines.as<float>(), half, pairs};
        check_device(table, "copy_pages", table.copy_pages(&copy, nullptr));
        std::vector<uint8_t> want(flat_bytes);
        for (uint32_t plane = 0; plane < shape.planes; ++plane)
          for (uint32_t token = 0; token < shape.tokens; ++token)
            for (uint32_t head = 0; head < shape.heads; ++head) {
              uint8_t* row = &want[shape.row(plane, token, head) * dim_bytes];
              std::copy_n(&pages[shape.page_row(numbers, plane, token, head) * dim_bytes],
                          dim_bytes, row);
              if (plane % 2 == 0) turn(shape, cosines, sines, pairs, row);
            }
        EXPECT_EQ(flat.read<uint8_t>(flat_bytes), want);
      }
    }
  });
}

struct Kivi {
  uint32_t layers, groups, heads, dim, bits;
};

void expect_kivi(const DeviceTable& table, Random& random, const Kivi& c) {
  LatentSpec spec;
  spec.layers = c.layers;
  spec.kv_heads = c.heads;
  spec.head_dim = c.dim;
  const uint32_t tokens = c.groups * device_group_tokens;
  const Shape shape{2 * c.layers, tokens, c.heads, c.dim, 0, false, DeviceElement::float32};
  std::vector<float> kv(size_t(shape.planes) * tokens * c.heads * c.dim);
  for (float& value : kv) value = float(random.below(2000001)) / 100000 - 10;
  for (uint32_t i = 0; i < c.dim; ++i) kv[i] = 3;  // a token whose values are all equal
  std::vector<uint8_t> want(kivi_size_bytes(spec, tokens, c.bits, 0));
  kivi_quantise(spec, kv, tokens, c.bits, 0, want);

  const std::vector<uint32_t> numbers = random_table(random, shape.page_count());
  const DeviceMemory pages(table, numbers.size() * shape.page_bytes()), flat(table, kv);
  const DeviceMemory device_table(table, numbers), packed(table, want.size());
  const DeviceMemory not_finite(table, std::vector<uint32_t>{0});
  DevicePageCopy copy = copy_of(shape, pages, device_table, flat, true);
  check_device(table, "copy_pages", table.copy_pages(&copy, nullptr));
  DeviceQuantise job{
      copy.pages, packed.as<uint8_t>(),     c.layers, c.groups, c.heads, c.dim, c.bits,
      0,          not_finite.as<uint32_t>()};
  check_device(table, "quantise_pages", table.quantise_pages(&job, nullptr));
  EXPECT_EQ(packed.read<uint8_t>(want.size()), want);
  EXPECT_EQ(not_finite.read<uint32_t>(1)[0], 0u);

  std::vector<float> restored(kv.size());
  kivi_dequantise(spec, want, tokens, c.bits, 0, restored);
  check_device(table, "fill",
               table.fill(pages.as<void>(), 0xff, numbers.size() * shape.page_bytes(), nullptr));
  job.to_pages = 1;
  check_device(table, "quantise_pages", table.quantise_pages(&job, nullptr));
  copy.to_pages = 0;
  check_device(table, "copy_pages", table.copy_pages(&copy, nullptr));
  EXPECT_EQ(flat.read<float>(kv.size()), restored);
}

TEST(DeviceLatent, QuantisesToTheBytesOfTheCpuAndBack) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    Random random(47);
    for (const Kivi& c :
         {Kivi{1, 1, 1, 2, 8}, Kivi{2, 2, 3, 8, 4}, Kivi{1, 1, 2, 64, 8}, Kivi{1, 1, 1, 256, 4}})
      expect_kivi(table, random, c);
  });
}

TEST(DeviceLatent, CountsHeadsThatHoldWhatIsNotFinite) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    const Shape shape{2, 32, 1, 4, 0, false, DeviceElement::float32};
    std::vector<float> kv(2 * 32 * 4, 1);
    kv[5] = std::numeric_limits<float>::infinity();
    kv[32 * 4 + 9] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<uint32_t> numbers = {0, 1};
    const DeviceMemory pages(table, 2 * shape.page_bytes()), flat(table, kv);
    const DeviceMemory device_table(table, numbers), packed(table, size_t(4096));
    const DeviceMemory not_finite(table, std::vector<uint32_t>{0});
    const DevicePageCopy copy = copy_of(shape, pages, device_table, flat, true);
    check_device(table, "copy_pages", table.copy_pages(&copy, nullptr));
    const DeviceQuantise job{copy.pages, packed.as<uint8_t>(),     1, 1, 1, 4, 8,
                             0,          not_finite.as<uint32_t>()};
    check_device(table, "quantise_pages", table.quantise_pages(&job, nullptr));
    EXPECT_EQ(not_finite.read<uint32_t>(1)[0], 2u);
  });
}

TEST(DeviceLatent, RealignsInAnOrderThatTheCpuCanFollow) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    Random random(53);
    for (const auto& [count, dim] : {std::pair{1u, 1u}, {9u, 130u}, {3u, 64u}}) {
      std::vector<float> hidden(count * dim), matrix(dim * dim), want(count * dim);
      for (float& value : hidden) value = float(random.below(2001)) / 1000 - 1;
      for (float& value : matrix) value = float(random.below(2001)) / 1000 - 1;
      const float norm = 2.5f;
      for (uint32_t row = 0; row < count; ++row) {
        float squares[32] = {};
        for (uint32_t column = 0; column < dim; ++column) {
          float sum = 0;
          for (uint32_t k = 0; k < dim; ++k)
            sum = std::fma(hidden[row * dim + k], matrix[k * dim + column], sum);
          want[row * dim + column] = sum;
          squares[column % 32] = std::fma(sum, sum, squares[column % 32]);
        }
        for (uint32_t step = 16; step > 0; step /= 2)
          for (uint32_t lane = 0; lane < step; ++lane) squares[lane] += squares[lane + step];
        const float factor = norm / std::max(std::sqrt(squares[0]), 1e-6f);
        for (uint32_t column = 0; column < dim; ++column) want[row * dim + column] *= factor;
      }
      const DeviceMemory device_hidden(table, hidden), device_matrix(table, matrix);
      const DeviceMemory out(table, want.size() * sizeof(float));
      const DeviceRealign job{device_hidden.as<float>(),
                              device_matrix.as<float>(),
                              out.as<float>(),
                              count,
                              dim,
                              norm,
                              0};
      check_device(table, "realign", table.realign(&job, nullptr));
      EXPECT_EQ(out.read<float>(want.size()), want);
    }
  });
}

TEST(DeviceLatent, RefusesWhatItsKernelsCannotHold) {
  HANSE_DEVICE_OR_SKIP(table);
  DeviceQuantise job{};
  job.layers = job.groups = job.heads = 1;
  job.dim = 64;
  for (const uint32_t bits : {0u, 2u, 16u}) {
    job.bits = bits;
    EXPECT_STREQ(table.error_name(table.quantise_pages(&job, nullptr)), "cudaErrorInvalidValue");
  }
  job.bits = 8;
  for (const uint32_t dim : {0u, 63u, device_quantise_dim_max + 2}) {
    job.dim = dim;
    EXPECT_NE(table.quantise_pages(&job, nullptr), 0);
  }
  DevicePageCopy copy{};
  copy.planes = copy.tokens = copy.heads = 1;
  copy.dim = 8;
  copy.turn.half = 5;
  EXPECT_NE(table.copy_pages(&copy, nullptr), 0);
  copy.turn.half = 4;
  copy.element = DeviceElement::byte;
  EXPECT_NE(table.copy_pages(&copy, nullptr), 0);
}

}  // namespace
}  // namespace hanse
