#pragma once
#include <bit>
#include <cstdint>

// Half precision and bfloat16 as loops want them: without branches, so that they vectorise, and without fp32
// subnormals, so that flush-to-zero cannot hurt.
namespace phalanx::formats {

inline float decode_half(uint16_t half) {
  const uint32_t magnitude = uint32_t(half & 0x7fff) << 13;
  const uint32_t exponent = magnitude & 0x0f800000;
  const uint32_t normal = magnitude + (112u << 23);
  const uint32_t infinite = magnitude + (224u << 23);
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude + (113u << 23)) - 0x1p-14f);
  const uint32_t bits = exponent == 0x0f800000 ? infinite : exponent == 0 ? subnormal : normal;
  return std::bit_cast<float>(bits | uint32_t(half & 0x8000) << 16);
}

inline uint16_t encode_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
  const uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
  const uint32_t half = magnitude > 0x7f800000    ? nan
                        : magnitude >= 0x47800000 ? 0x7c00
                        : magnitude < 0x38800000  ? subnormal
                                                  : normal;
  return uint16_t(half | (bits >> 16 & 0x8000));
}

inline uint16_t encode_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return uint16_t((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 64 : rounded);
}

}  // namespace phalanx::formats
