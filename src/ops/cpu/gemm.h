#pragma once
#include <cstdint>

/// Packed matrix product (Goto & van de Geijn 2008): both operands are copied block by block into panels that
/// a register tile reads in order. AVX-512: 12 x 32, fp32 (FMA) or bf16 pairs (VDPBF16PS). AVX2: 6 x 16, bf16
/// widened to fp32 as it is packed. Sums are fp32.
namespace phalanx::ops::cpu {

enum class Element { kF32, kBF16 };

/// One operand: element (row, k) at data[row * stride + k] if `k_contiguous`, else data[k * stride + row].
struct Operand {
  const void* data;
  int64_t stride;
  bool k_contiguous;
};

/// c [m, n] (= or +=) scale * a [m, k] b [n, k]^T, with b given by its n rows.
struct Product {
  int64_t m, n, k;
  Operand a, b;
  Element element;  ///< of a and b
  void* c;
  int64_t c_stride;
  Element c_element;        ///< bf16 only together with accumulate = false
  bool accumulate = false;  ///< c += ... instead of c = ...
  float scale = 1.0f;
};

/// Whether multiply() may be called for this element type on this machine.
bool can_multiply(Element element);
/// Uses at::parallel_for; the bits do not depend on the number of threads.
void multiply(const Product& product);

}  // namespace phalanx::ops::cpu
