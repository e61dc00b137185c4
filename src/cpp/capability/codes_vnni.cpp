// AVX-512 with VNNI and VPOPCNTDQ: int8 products of 64 components and bit counts of 512 bits in one
// instruction each.
#include <immintrin.h>

#include "capability/codes_loops.hpp"

namespace hanse {

extern const CodeKernels code_kernels_vnni;

namespace {

struct Avx512 {
  using Wide = __m512;
  static constexpr uint32_t lanes = 16;
  static Wide load(const float* p) { return _mm512_load_ps(p); }
  static void store(float* p, Wide v) { _mm512_store_ps(p, v); }
  static Wide add(Wide a, Wide b) { return _mm512_add_ps(a, b); }
  static Wide subtract(Wide a, Wide b) { return _mm512_sub_ps(a, b); }
  static Wide butterfly(Wide swapped, Wide v, __mmask16 odd) {
    return _mm512_mask_sub_ps(_mm512_add_ps(swapped, v), odd, swapped, v);
  }
  static void within(float* values, uint32_t count) {
    for (uint32_t i = 0; i < count; i += lanes) {
      Wide v = load(values + i);
      v = butterfly(_mm512_permute_ps(v, 0b10110001), v, 0xaaaa);
      v = butterfly(_mm512_permute_ps(v, 0b01001110), v, 0xcccc);
      v = butterfly(_mm512_shuffle_f32x4(v, v, 0b10110001), v, 0xf0f0);
      v = butterfly(_mm512_shuffle_f32x4(v, v, 0b01001110), v, 0xff00);
      store(values + i, v);
    }
  }
};

// The totals of four vectors of 16 sums.
__m128i totals(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i all =
      _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half =
      _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// How often the bits of `code` meet the planes, weighted; Horner from the sign's plane down.
__m512i weigh(__m512i code, const __m512i* planes) {
  const auto count = [&](uint32_t bit) {
    return _mm512_popcnt_epi64(_mm512_and_si512(code, planes[bit]));
  };
  __m512i sum = _mm512_sub_epi64(count(2), _mm512_slli_epi64(count(3), 1));
  sum = _mm512_add_epi64(count(1), _mm512_slli_epi64(sum, 1));
  return _mm512_add_epi64(count(0), _mm512_slli_epi64(sum, 1));
}

__m128 scores_of(const SignJob& job, const uint8_t* const* records, __m128i sums) {
  __m128 a = _mm_load_ps(reinterpret_cast<const float*>(records[0]));
  __m128 b = _mm_load_ps(reinterpret_cast<const float*>(records[1]));
  __m128 c = _mm_load_ps(reinterpret_cast<const float*>(records[2]));
  __m128 d = _mm_load_ps(reinterpret_cast<const float*>(records[3]));
  _MM_TRANSPOSE4_PS(a, b, c, d);
  const __m128 constants = _mm_sub_ps(_mm_mul_ps(_mm_set1_ps(job.centre_weight), c),
                                      _mm_mul_ps(_mm_set1_ps(job.square_weight), d));
  const __m128 signs = _mm_sub_ps(_mm_mul_ps(_mm_set1_ps(job.plane_scale), _mm_cvtepi32_ps(sums)),
                                  _mm_set1_ps(job.plane_offset));
  return _mm_add_ps(_mm_mul_ps(a, signs), constants);
}

// Four records at a time; `sum(record)` gives eight sums of 64 bits.
template <class Sum>
void sign_scores_by_four(const SignJob& job, Sum sum) {
  // The halves above the 32 bits that count are left out of the totals.
  const __m512i low = _mm512_set1_epi64(0xffffffff);
  const auto part = [&](const uint8_t* record) { return _mm512_and_si512(sum(record), low); };
  uint32_t i = 0;
  for (; i + 4 <= job.count; i += 4) {
    const uint8_t* const* r = job.records + i;
    const __m128i sums = totals(part(r[0]), part(r[1]), part(r[2]), part(r[3]));
    _mm_storeu_ps(job.scores_out + i, scores_of(job, r, sums));
  }
  for (; i < job.count; ++i)
    job.scores_out[i] =
        sign_score(job, job.records[i], int32_t(_mm512_reduce_add_epi64(sum(job.records[i]))));
}

void sign_scores_vnni(const SignJob& job) {
  static_assert(query_bits == 4);
  const uint32_t words = job.words;
  if (words <= 8) {
    // The planes of up to 512 dimensions stay in registers.
    const __mmask8 some = __mmask8((1u << words) - 1);
    __m512i planes[query_bits];
#pragma GCC unroll 4
    for (uint32_t bit = 0; bit < query_bits; ++bit)
      planes[bit] = _mm512_maskz_loadu_epi64(some, job.planes + bit * words);
    return sign_scores_by_four(job, [&](const uint8_t* record) {
      return weigh(_mm512_maskz_loadu_epi64(some, bits_of(record)), planes);
    });
  }
  sign_scores_by_four(job, [&](const uint8_t* record) {
    __m512i sum = _mm512_setzero_si512();
    for (uint32_t w = 0; w < words; w += 8) {
      const uint32_t left = words - w;
      const __mmask8 some = left >= 8 ? __mmask8(0xff) : __mmask8((1u << left) - 1);
      __m512i planes[query_bits];
#pragma GCC unroll 4
      for (uint32_t bit = 0; bit < query_bits; ++bit)
        planes[bit] = _mm512_maskz_loadu_epi64(some, job.planes + bit * words + w);
      const __m512i code = _mm512_maskz_loadu_epi64(some, bits_of(record) + w);
      sum = _mm512_add_epi64(sum, weigh(code, planes));
    }
    return sum;
  });
}

__m512i keys_of(__m256 scores, __m256i slots) {
  const __m256i bits = _mm256_castps_si256(scores);
  const __m256i top = _mm256_set1_epi32(INT32_MIN);
  const __m256i turned = _mm256_xor_si256(bits, _mm256_or_si256(_mm256_srai_epi32(bits, 31), top));
  return _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu32_epi64(turned), 32),
                         _mm512_cvtepu32_epi64(_mm256_slli_epi32(slots, 1)));
}

// With a sorted from the greatest down, what is at i afterwards is max(a[i], min(a[i - 1], key)):
// from the end on, eight places at a time, up to where the key belongs. -> that place.
uint32_t insert(__m512i* pool, uint32_t last, uint64_t key) {
  const __m512i keys = _mm512_set1_epi64(int64_t(key));
  __m512i here = pool[last];
  for (uint32_t at = last;; --at) {
    const __mmask8 less = _mm512_cmplt_epu64_mask(here, keys);
    if (at == 0 || less != 0xff) {
      // A key that belongs to the first place of these eight has a greater one before it.
      const __m512i before = _mm512_maskz_alignr_epi64(0xfe, here, here, 7);
      const __m512i moved = _mm512_mask_mov_epi64(_mm512_min_epu64(before, keys), 1, keys);
      pool[at] = _mm512_max_epu64(here, moved);
      return at * 8 + uint32_t(8 - __builtin_popcount(less));
    }
    const __m512i above = pool[at - 1];
    pool[at] = _mm512_max_epu64(here, _mm512_min_epu64(_mm512_alignr_epi64(here, above, 7), keys));
    here = above;
  }
}

uint32_t fill_pool_avx512(const PoolJob& job) {
  auto* pool = reinterpret_cast<__m512i*>(job.pool);
  const uint32_t last = job.size / pool_unit - 1;
  uint32_t best = job.size;
  for (uint32_t i = 0; i < job.count; i += 8) {
    const __mmask8 some =
        job.count - i >= 8 ? __mmask8(0xff) : __mmask8((1u << (job.count - i)) - 1);
    const __m512i keys = keys_of(_mm256_maskz_loadu_ps(some, job.scores + i),
                                 _mm256_maskz_loadu_epi32(some, job.slots + i));
    const __m512i worst = _mm512_set1_epi64(int64_t(job.pool[job.size - 1].key));
    alignas(64) uint64_t each[8];
    _mm512_store_si512(each, keys);
    for (uint32_t better = _mm512_mask_cmpgt_epu64_mask(some, keys, worst); better != 0;
         better &= better - 1) {
      const uint64_t key = each[__builtin_ctz(better)];
      if (key <= job.pool[job.size - 1].key) continue;
      const uint32_t place = insert(pool, last, key);
      best = place < best ? place : best;
    }
  }
  return best;
}

// Four products at once with what stays the same: a query with rows, or a row with queries.
template <class Stays, class Comes, class Product>
void products(const Stays* stays, const Comes* const* comes, uint32_t count, uint32_t dim,
              int32_t* dots_out, Product product) {
  uint32_t i = 0;
  for (; i + 4 <= count; i += 4) {
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (uint32_t at = 0; at < dim; at += 64) {
      const __m512i of = _mm512_load_si512(stays + at);
      a = product(a, _mm512_load_si512(comes[i] + at), of);
      b = product(b, _mm512_load_si512(comes[i + 1] + at), of);
      c = product(c, _mm512_load_si512(comes[i + 2] + at), of);
      d = product(d, _mm512_load_si512(comes[i + 3] + at), of);
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dots_out + i), totals(a, b, c, d));
  }
  for (; i < count; ++i) {
    __m512i a = _mm512_setzero_si512();
    for (uint32_t at = 0; at < dim; at += 64)
      a = product(a, _mm512_load_si512(comes[i] + at), _mm512_load_si512(stays + at));
    dots_out[i] = _mm512_reduce_add_epi32(a);
  }
}

void dots_vnni(const int8_t* query, const uint8_t* const* rows, uint32_t count, uint32_t dim,
               int32_t* dots_out) {
  products(query, rows, count, dim, dots_out,
           [](__m512i sum, __m512i row, __m512i of) { return _mm512_dpbusd_epi32(sum, row, of); });
}

void row_dots_vnni(const uint8_t* row, const int8_t* const* queries, uint32_t count, uint32_t dim,
                   int32_t* dots_out) {
  products(row, queries, count, dim, dots_out, [](__m512i sum, __m512i query, __m512i of) {
    return _mm512_dpbusd_epi32(sum, of, query);
  });
}

// 24 sums, 4 vectors of rows and one of a query in 29 of the 32 registers: no sum is ever added up
// across lanes.
template <uint32_t Q>
void panel_tile(const uint8_t* panels, const int8_t* const* queries, uint32_t dim,
                int32_t* dots_out) {
  __m512i sums[Q][panels_in_tile];
#pragma GCC unroll 6
  for (uint32_t q = 0; q < Q; ++q)
#pragma GCC unroll 4
    for (uint32_t p = 0; p < panels_in_tile; ++p) sums[q][p] = _mm512_setzero_si512();
  const size_t panel_bytes = size_t(panel_rows) * dim;
  for (uint32_t d = 0; d < dim; d += 4) {
    __m512i rows[panels_in_tile];
#pragma GCC unroll 4
    for (uint32_t p = 0; p < panels_in_tile; ++p)
      rows[p] = _mm512_load_si512(panels + p * panel_bytes + d * panel_rows);
#pragma GCC unroll 6
    for (uint32_t q = 0; q < Q; ++q) {
      int32_t four;
      __builtin_memcpy(&four, queries[q] + d, sizeof four);
      const __m512i of = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (uint32_t p = 0; p < panels_in_tile; ++p)
        sums[q][p] = _mm512_dpbusd_epi32(sums[q][p], rows[p], of);
    }
  }
#pragma GCC unroll 6
  for (uint32_t q = 0; q < Q; ++q)
#pragma GCC unroll 4
    for (uint32_t p = 0; p < panels_in_tile; ++p)
      _mm512_storeu_si512(dots_out + (q * panels_in_tile + p) * panel_rows, sums[q][p]);
}

void panel_dots_vnni(const uint8_t* panels, const int8_t* const* queries, uint32_t query_count,
                     uint32_t dim, int32_t* dots_out) {
  switch (query_count) {
    case 1:
      return panel_tile<1>(panels, queries, dim, dots_out);
    case 2:
      return panel_tile<2>(panels, queries, dim, dots_out);
    case 3:
      return panel_tile<3>(panels, queries, dim, dots_out);
    case 4:
      return panel_tile<4>(panels, queries, dim, dots_out);
    case 5:
      return panel_tile<5>(panels, queries, dim, dots_out);
    default:
      return panel_tile<6>(panels, queries, dim, dots_out);
  }
}

}  // namespace

const CodeKernels code_kernels_vnni = {
    CpuLevel::avx512, "avx512 vnni", sign_scores_vnni, fill_pool_avx512,
    dots_vnni,        row_dots_vnni, panel_dots_vnni,  hadamard_blocks<Avx512>};

}  // namespace hanse
