#include "base/cpu.hpp"

#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "base/error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace hanse {

namespace {

struct CpuFeatures {
  CpuLevel best = CpuLevel::baseline;
  bool sha = false, crc32 = false, vnni = false;
};

// The only two places that know the architecture are this one and hash.cpp's table.
#if defined(__x86_64__)
CpuFeatures detect_features() {
  CpuFeatures features;
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    features.best = CpuLevel::avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      features.best = CpuLevel::avx512;
  }
  features.vnni = features.best == CpuLevel::avx512 && __builtin_cpu_supports("avx512vnni") &&
                  __builtin_cpu_supports("avx512vpopcntdq");
  features.crc32 = __builtin_cpu_supports("sse4.2");
  // Leaf 7, EBX bit 29: gcc 12's __builtin_cpu_supports does not know "sha".
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
    features.sha = (ebx >> 29 & 1) != 0 && __builtin_cpu_supports("sse4.1");
  return features;
}
#elif defined(__aarch64__)
CpuFeatures detect_features() { return {.best = CpuLevel::neon}; }
#else
CpuFeatures detect_features() { return {}; }
#endif

const CpuFeatures& features() {
  static const CpuFeatures detected = detect_features();
  return detected;
}

constexpr const char* level_names[] = {"baseline", "avx2", "avx512", "neon"};

bool includes(CpuLevel best, CpuLevel level) {
  if (level == CpuLevel::baseline || level == best) return true;
  return best == CpuLevel::avx512 && level == CpuLevel::avx2;
}

}  // namespace

CpuLevel choose_cpu_level(const char* forced, CpuLevel best) {
  if (forced == nullptr || *forced == '\0') return best;
  for (size_t i = 0; i < std::size(level_names); ++i) {
    if (std::string_view(forced) != level_names[i]) continue;
    if (includes(best, CpuLevel(i))) return CpuLevel(i);
    throw Error(ErrorCode::out_of_range, "HANSE_CPU",
                std::string(forced) + " where this machine has up to " + cpu_level_name(best));
  }
  throw Error(ErrorCode::out_of_range, "HANSE_CPU",
              std::string(forced) + " is not one of baseline, avx2, avx512, neon");
}

CpuLevel cpu_level() {
  static const CpuLevel level = choose_cpu_level(std::getenv("HANSE_CPU"), features().best);
  return level;
}

const char* cpu_level_name(CpuLevel level) { return level_names[size_t(level)]; }

namespace {
// A machine may lack AVX2 and still have both; only an explicit "baseline" turns them off.
bool forced_to_baseline() {
  const char* forced = std::getenv("HANSE_CPU");
  return cpu_level() == CpuLevel::baseline && forced != nullptr && *forced != '\0';
}
}  // namespace

bool cpu_has_sha() { return features().sha && !forced_to_baseline(); }
bool cpu_has_vnni() { return features().vnni; }
bool cpu_has_crc32() { return features().crc32 && !forced_to_baseline(); }

}  // namespace hanse
