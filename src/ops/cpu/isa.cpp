#include "ops/cpu/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace phalanx::ops::cpu {
namespace {

bool has_amx_bf16() {  // CPUID.(7,0).EDX bit 22; GCC 12 knows no name for it in __builtin_cpu_supports
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1u);
}

/// Linux gives the registers of the tiles to processes that ask for them (arch_prctl(2),
/// ARCH_REQ_XCOMP_PERM).
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa detect() {
  __builtin_cpu_init();
  Isa found;
  found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  found.avx512 = found.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  found.avx512_bf16 = found.avx512 && __builtin_cpu_supports("avx512bf16");
  found.amx_bf16 = found.avx512_bf16 && has_amx_bf16() && may_use_tiles();
  return found;
}

Isa& current() {
  static Isa value = detect();
  return value;
}

}  // namespace

const Isa& isa() {
  return current();
}

IsaOverride::IsaOverride(Isa lesser) : before_(current()) {
  current() = lesser;
}
IsaOverride::~IsaOverride() {
  current() = before_;
}

}  // namespace phalanx::ops::cpu
