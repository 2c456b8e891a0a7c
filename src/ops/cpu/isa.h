#pragma once

/// Which instruction sets this machine has, asked once; code paths are chosen by these, never by the vendor.
namespace phalanx::ops::cpu {

struct Isa {
  bool avx2 = false;         ///< AVX2 + FMA
  bool avx512 = false;       ///< AVX-512 F, BW, VL, DQ
  bool avx512_bf16 = false;  ///< VDPBF16PS and conversions, on top of `avx512`
  bool amx_bf16 =
      false;  ///< tile products; VDPBF16PS is slow on such machines, so bf16 widens to fp32 or goes to tiles
  /// bf16 products by VDPBF16PS pay.
  bool fast_bf16_dot() const { return avx512_bf16 && !amx_bf16; }
};

const Isa& isa();

/// Pretends to be a lesser machine until the end of the scope (tests, benchmarks). Not thread safe.
class IsaOverride {
 public:
  explicit IsaOverride(Isa lesser);
  ~IsaOverride();

 private:
  Isa before_;
};

}  // namespace phalanx::ops::cpu
