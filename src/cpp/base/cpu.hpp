// Which instruction sets this machine has, and which table of functions to use.
#pragma once

#include <cstdint>

namespace hanse {

enum class CpuLevel : uint8_t { baseline, avx2, avx512, neon };

// The best level of this machine, or the one forced by HANSE_CPU=baseline|avx2|avx512|neon.
// Throws Error(out_of_range) when HANSE_CPU names an unknown level or one that this machine lacks.
// Read once; any thread.
CpuLevel cpu_level();
// The rule behind cpu_level(): what `forced` (may be null or empty) gives where `best` is the best.
CpuLevel choose_cpu_level(const char* forced, CpuLevel best);
const char* cpu_level_name(CpuLevel level);

// SHA extensions, unless HANSE_CPU=baseline.
bool cpu_has_sha();
// AVX-512 VNNI and VPOPCNTDQ, beside the level avx512.
bool cpu_has_vnni();
// SSE4.2 crc32, unless HANSE_CPU=baseline.
bool cpu_has_crc32();

}  // namespace hanse
