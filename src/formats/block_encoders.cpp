// Vectorised, but a product and a sum are never fused: the bits must not depend on the machine. Square roots
// set no errno, which would keep their loops scalar.
#pragma GCC optimize("O3", "fp-contract=off", "no-math-errno")
#include "formats/block_encoders.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/vector_clones.h"
#include "formats/half_codec.h"
#include "formats/scale_search.h"

namespace phalanx::formats {
namespace {

using core::DType;

inline void store_half(uint8_t* out, uint16_t half) {
  std::memcpy(out, &half, 2);
}

// d = max|x| / 127, q = x / d rounded half away from zero. A block with NaN or infinity keeps a NaN or
// infinite scale.
inline void encode_q8_0(const float* x, uint8_t* block) {
  uint32_t largest = 0;  // as bits, of which NaN has the most
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
  const float d = std::bit_cast<float>(largest) / 127;
  const float inverse = d == 0 ? 0 : 1 / d;
  store_half(block, encode_half(d));
  for (int i = 0; i < 32; ++i) {
    const float scaled = x[i] * inverse;
    const float magnitude = std::min(std::fabs(scaled), 127.0f);  // false for NaN: 127, whatever its sign
    const float floored = std::floor(magnitude);
    const float rounded = floored + std::floor(2 * (magnitude - floored));
    block[2 + i] = uint8_t(int8_t(std::copysign(rounded, scaled)));
  }
}

// Where value i < 32 of a block goes: low nibble of q[i] for i < 16, else high nibble of q[i - 16]; the fifth
// bit of five-bit levels is bit i of a word before them.
template <bool kFifthBit>
inline void pack_32(const uint8_t* levels, uint8_t* out) {
  if (kFifthBit) {
    for (int byte = 0; byte < 4; ++byte) {  // the product moves bit 0 of byte i to bit 56 + i
      uint64_t eight;
      std::memcpy(&eight, levels + 8 * byte, 8);
      out[byte] = uint8_t(((eight >> 4 & 0x0101010101010101) * 0x0102040810204080) >> 56);
    }
    out += 4;
  }
  for (int i = 0; i < 16; ++i) out[i] = uint8_t((levels[i] & 15) | (levels[16 + i] & 15) << 4);
}

/// The first of the values of largest magnitude; 0 if there is none but NaN.
inline float furthest_of(const float* x, int count) {
  constexpr uint32_t kInfinity = 0x7f800000;
  const auto magnitude_of = [](float value) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(value) & 0x7fffffff;
    return magnitude > kInfinity ? 0 : magnitude;
  };
  uint32_t largest = 0, first = 0xffffffff;
  for (int i = 0; i < count; ++i) largest = std::max(largest, magnitude_of(x[i]));
  for (int i = 0; i < count; ++i)
    first = std::min(first, magnitude_of(x[i]) == largest ? uint32_t(i) : 0xffffffff);
  return largest == 0 ? 0 : x[first];
}

// Q4_0 and Q5_0: levels -kHalf .. kHalf - 1 around a scale.
template <int kHalf>
inline void encode_symmetric(const float* x, const float* weights, uint8_t* block) {
  constexpr float kTop = 2 * kHalf - 1;
  const float furthest = furthest_of(x, 32);
  uint8_t levels[32];
  if (weights == nullptr) {
    const float d = furthest / -kHalf, inverse = d == 0 ? 0 : 1 / d;
    store_half(block, encode_half(d));
    for (int i = 0; i < 32; ++i) {
      const float level = x[i] * inverse + (kHalf + 0.5f);
      levels[i] = uint8_t(int(level < kTop ? std::max(level, 0.0f) : kTop));
    }
  } else {
    const uint16_t half = encode_half(fit_scale<32, -kHalf, kHalf - 1>(x, weights, furthest, -kHalf));
    const float d = decode_half(half), inverse = d == 0 ? 0 : 1 / d;
    store_half(block, half);
    for (int i = 0; i < 32; ++i) levels[i] = uint8_t(kHalf + int(level_of(x[i], inverse, -kHalf, kHalf - 1)));
  }
  pack_32<kHalf == 16>(levels, block + 2);
}

// Q4_1 and Q5_1: levels 0 .. kTop above a minimum of either sign.
template <int kTop>
inline void encode_affine(const float* x, const float* weights, uint8_t* block) {
  uint8_t levels[32];
  if (weights == nullptr) {
    const float lowest = halved<32>(x, [](float a, float b) { return b < a ? b : a; });
    const float highest = halved<32>(x, [](float a, float b) { return b > a ? b : a; });
    const float d = (highest - lowest) / kTop, inverse = d == 0 ? 0 : 1 / d;
    store_half(block, encode_half(d));
    store_half(block + 2, encode_half(lowest));
    for (int i = 0; i < 32; ++i) {
      const float level = (x[i] - lowest) * inverse + 0.5f;
      levels[i] = uint8_t(int(level < kTop ? std::max(level, 0.0f) : float(kTop)));
    }
  } else {
    const Affine fit = fit_affine<32, kTop, true>(x, weights);
    const uint16_t scale = encode_half(fit.scale), minimum = encode_half(fit.minimum);
    const float d = decode_half(scale), m = decode_half(minimum), inverse = d == 0 ? 0 : 1 / d;
    store_half(block, scale);
    store_half(block + 2, minimum);
    for (int i = 0; i < 32; ++i) levels[i] = uint8_t(int(level_of(x[i] - m, inverse, 0, kTop)));
  }
  pack_32<kTop == 31>(levels, block + 4);
}

// 8 groups' 6-bit scales and minima in 12 bytes: bits 0-5 of the first eight bytes hold those of groups 0-3;
// groups 4-7 have their low nibbles in the last four bytes and their high two bits above those.
inline void pack_scales(const uint8_t* scales, const uint8_t* minima, uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    out[j] = uint8_t(scales[j] | (scales[j + 4] >> 4) << 6);
    out[j + 4] = uint8_t(minima[j] | (minima[j + 4] >> 4) << 6);
    out[j + 8] = uint8_t((scales[j + 4] & 15) | (minima[j + 4] & 15) << 4);
  }
}

// A common half-precision factor of eight numbers >= 0 and their 6-bit multiples of it.
inline uint16_t share_factor(const float* values, const float* weights, uint8_t* multiples) {
  const uint16_t half = encode_half(fit_scale<8, 0, 63>(values, weights, furthest_of(values, 8), 63));
  const float d = decode_half(half), inverse = d == 0 ? 0 : 1 / d;
  for (int j = 0; j < 8; ++j) multiples[j] = uint8_t(int(level_of(values[j], inverse, 0, 63)));
  return half;
}

// Q4_K and Q5_K: 8 groups of 32 levels 0 .. kTop; a value is d scale level - d_min minimum.
template <int kTop>
inline void encode_super_affine(const float* x, const float* importance, uint8_t* block) {
  float scales[8], minima[8], group_weights[8], weights[32];
  const float mean_square = sum_of<256>([&](int i) { return x[i] * x[i]; }) / 256;
  for (int j = 0; j < 8; ++j) {
    const float* group = x + 32 * j;
    if (importance != nullptr) {
      for (int i = 0; i < 32; ++i)
        weights[i] = importance[32 * j + i] * std::sqrt(2 * mean_square + group[i] * group[i]);
    } else {
      const float root = std::sqrt(sum_of<32>([&](int i) { return group[i] * group[i]; }) / 32);
      for (int i = 0; i < 32; ++i) weights[i] = root + std::fabs(group[i]);
    }
    const Affine fit = fit_affine<32, kTop, false>(group, weights);
    scales[j] = fit.scale;
    minima[j] = -fit.minimum;
    group_weights[j] = sum_of<32>([&](int i) { return weights[i]; });
  }
  uint8_t scale_multiples[8], minimum_multiples[8], levels[256];
  const uint16_t d_half = share_factor(scales, group_weights, scale_multiples);
  const uint16_t m_half = share_factor(minima, group_weights, minimum_multiples);
  store_half(block, d_half);
  store_half(block + 2, m_half);
  pack_scales(scale_multiples, minimum_multiples, block + 4);
  for (int j = 0; j < 8; ++j) {
    const float d = decode_half(d_half) * float(scale_multiples[j]), inverse = d == 0 ? 0 : 1 / d;
    const float m = decode_half(m_half) * float(minimum_multiples[j]);
    for (int i = 0; i < 32; ++i)
      levels[32 * j + i] = uint8_t(int(level_of(x[32 * j + i] + m, inverse, 0, kTop)));
  }
  uint8_t* nibbles = block + 16;
  if (kTop == 31) {  // the fifth bits of group j are bit j of 32 bytes
    for (int i = 0; i < 32; ++i) {
      int high = 0;
      for (int j = 0; j < 8; ++j) high |= (levels[32 * j + i] >> 4) << j;
      nibbles[i] = uint8_t(high);
    }
    nibbles += 32;
  }
  for (int pair = 0; pair < 4; ++pair)
    for (int i = 0; i < 32; ++i)
      nibbles[32 * pair + i] = uint8_t((levels[64 * pair + i] & 15) | (levels[64 * pair + 32 + i] & 15) << 4);
}

// 16 groups of 16 levels -32 .. 31; a value is d scale level.
inline void encode_q6_k(const float* x, const float* importance, uint8_t* block) {
  float scales[16], weights[16];
  for (int j = 0; j < 16; ++j) {
    const float* group = x + 16 * j;
    for (int i = 0; i < 16; ++i)
      weights[i] = importance != nullptr ? importance[16 * j + i] : group[i] * group[i];
    scales[j] = fit_scale<16, -32, 31>(group, weights, furthest_of(group, 16), -32);
  }
  const uint16_t half = encode_half(furthest_of(scales, 16) / -128);
  const float d = decode_half(half), inverse = d == 0 ? 0 : 1 / d;
  uint8_t levels[256];
  store_half(block + 208, half);
  for (int j = 0; j < 16; ++j) {
    const float multiple = level_of(scales[j], inverse, -128, 127);
    block[192 + j] = uint8_t(int8_t(multiple));
    const float step = d * multiple, inverse_step = step == 0 ? 0 : 1 / step;
    for (int i = 0; i < 16; ++i)
      levels[16 * j + i] = uint8_t(32 + int(level_of(x[16 * j + i], inverse_step, -32, 31)));
  }
  for (int n = 0; n < 2; ++n) {  // halves of 128
    const uint8_t* v = levels + 128 * n;
    for (int i = 0; i < 64; ++i) block[64 * n + i] = uint8_t((v[i] & 15) | (v[64 + i] & 15) << 4);
    for (int i = 0; i < 32; ++i)
      block[128 + 32 * n + i] =
          uint8_t(v[i] >> 4 | (v[32 + i] >> 4) << 2 | (v[64 + i] >> 4) << 4 | (v[96 + i] >> 4) << 6);
  }
}

inline void encode_block(DType dtype, const float* x, const float* weights, uint8_t* block) {
  switch (dtype) {
    case DType::kQ4_0:
      return encode_symmetric<8>(x, weights, block);
    case DType::kQ5_0:
      return encode_symmetric<16>(x, weights, block);
    case DType::kQ4_1:
      return encode_affine<15>(x, weights, block);
    case DType::kQ5_1:
      return encode_affine<31>(x, weights, block);
    case DType::kQ4_K:
      return encode_super_affine<15>(x, weights, block);
    case DType::kQ5_K:
      return encode_super_affine<31>(x, weights, block);
    case DType::kQ6_K:
      return encode_q6_k(x, weights, block);
    default:
      return encode_q8_0(x, block);
  }
}

}  // namespace

PHX_VECTOR_CLONES __attribute__((flatten)) void encode_blocks(DType dtype, const float* source, int64_t count,
                                                              uint8_t* out, int64_t columns,
                                                              const float* importance) noexcept {
  const int64_t elements = core::block_elements(dtype), bytes = core::block_bytes(dtype);
  const bool weighs_rows = importance != nullptr && elements == 32;
  float mean_square = 0, weights[32];
  for (int64_t first = 0; first < count; first += elements, out += bytes) {
    const float* x = source + first;
    if (importance == nullptr) {
      encode_block(dtype, x, nullptr, out);
      continue;
    }
    const int64_t column = first % columns;
    if (!weighs_rows) {
      encode_block(dtype, x, importance + column, out);
      continue;
    }
    if (column == 0) {
      float sum = 0;
      for (int64_t i = 0; i < columns; i += 32) sum += sum_of<32>([&](int k) { return x[i + k] * x[i + k]; });
      mean_square = sum / float(columns);
    }
    for (int i = 0; i < 32; ++i) weights[i] = importance[column + i] * std::sqrt(mean_square + x[i] * x[i]);
    encode_block(dtype, x, weights, out);
  }
}

}  // namespace phalanx::formats
