#include "checkpoint/finite.h"

#include <cstring>

namespace phalanx::checkpoint {

namespace {

/// A float is not finite where all bits of its exponent are set.
template <typename Bits>
int64_t first_with_all_bits(const std::byte* data, int64_t count, Bits exponent) {
  constexpr int64_t kGroup = 64;  // a fixed count, so that the compiler vectorises the inner loop
  Bits group[kGroup];
  for (int64_t begin = 0; begin < count; begin += kGroup) {
    const int64_t length = count - begin < kGroup ? count - begin : kGroup;
    if (length < kGroup) std::memset(group, 0, sizeof group);
    std::memcpy(group, data + begin * static_cast<int64_t>(sizeof(Bits)),
                static_cast<size_t>(length) * sizeof(Bits));
    Bits found = 0;
    for (int64_t i = 0; i < kGroup; ++i)
      found |= static_cast<Bits>((group[i] & exponent) == exponent ? 1 : 0);
    if (found == 0) continue;
    for (int64_t i = 0; i < length; ++i) {
      if ((group[i] & exponent) == exponent) return begin + i;
    }
  }
  return -1;
}

}  // namespace

int64_t first_non_finite(core::DType dtype, const std::byte* data, int64_t num_elements) {
  switch (dtype) {
    case core::DType::kF64:
      return first_with_all_bits<uint64_t>(data, num_elements, 0x7ff0000000000000ULL);
    case core::DType::kF32:
      return first_with_all_bits<uint32_t>(data, num_elements, 0x7f800000U);
    case core::DType::kBF16:
      return first_with_all_bits<uint16_t>(data, num_elements, 0x7f80U);
    case core::DType::kF16:
      return first_with_all_bits<uint16_t>(data, num_elements, 0x7c00U);
    default:
      return -1;
  }
}

}  // namespace phalanx::checkpoint
