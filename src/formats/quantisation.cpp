// Loops over many blocks are what a start-up waits for: let GCC vectorise them, but never fuse a product and
// a sum, which would change bits on machines with FMA.
#pragma GCC optimize("O3", "fp-contract=off")
#include "formats/quantisation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "core/vector_clones.h"
#include "formats/block_encoders.h"
#include "formats/half_codec.h"
#include "formats/tensor_file.h"

namespace phalanx::formats {
namespace {

using core::DType;
using Bytes = const uint8_t*;

template <typename T>
T load(Bytes source) {
  T value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

void decode_f64(Bytes source, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = float(load<double>(source + 8 * i));
}

void decode_f16(Bytes source, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = decode_half(load<uint16_t>(source + 2 * i));
}

void decode_bf16(Bytes source, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i)
    out[i] = std::bit_cast<float>(uint32_t(load<uint16_t>(source + 2 * i)) << 16);
}

// In the block decoders, value i < 16 sits in the low nibble of q[i], value 16 + i in the high one.

void decode_q8_0(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block));
  for (int i = 0; i < 32; ++i) out[i] = float(int8_t(block[2 + i])) * d;
}

void decode_q4_0(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block));
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float((block[2 + i] & 15) - 8);
    out[16 + i] = d * float((block[2 + i] >> 4) - 8);
  }
}

void decode_q4_1(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block)), m = decode_half(load<uint16_t>(block + 2));
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float(block[4 + i] & 15) + m;
    out[16 + i] = d * float(block[4 + i] >> 4) + m;
  }
}

void decode_q5_0(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block));
  const uint32_t high = load<uint32_t>(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float(int((block[6 + i] & 15) | (high >> i & 1) << 4) - 16);
    out[16 + i] = d * float(int((block[6 + i] >> 4) | (high >> (16 + i) & 1) << 4) - 16);
  }
}

void decode_q5_1(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block)), m = decode_half(load<uint16_t>(block + 2));
  const uint32_t high = load<uint32_t>(block + 4);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * float(int((block[8 + i] & 15) | (high >> i & 1) << 4)) + m;
    out[16 + i] = d * float(int((block[8 + i] >> 4) | (high >> (16 + i) & 1) << 4)) + m;
  }
}

struct GroupScale {
  int scale, minimum;
};

// Of group j of 8: 6-bit scales and minima, packed into 12 bytes.
inline GroupScale group_scale(Bytes s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

// 8 groups of 32 with a scale and a minimum each.
void decode_q4_k(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block)), d_min = decode_half(load<uint16_t>(block + 2));
  for (int j = 0; j < 8; ++j) {
    const GroupScale group = group_scale(block + 4, j);
    const float group_d = d * float(group.scale), group_min = d_min * float(group.minimum);
    const Bytes q = block + 16 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i) out[32 * j + i] = group_d * float(q[i] >> shift & 15) - group_min;
  }
}

// Q4_K with a fifth bit: bit j of byte i is that of value i of group j.
void decode_q5_k(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block)), d_min = decode_half(load<uint16_t>(block + 2));
  const Bytes high = block + 16;
  for (int j = 0; j < 8; ++j) {
    const GroupScale group = group_scale(block + 4, j);
    const float group_d = d * float(group.scale), group_min = d_min * float(group.minimum);
    const Bytes q = block + 48 + 32 * (j / 2);
    const int shift = 4 * (j % 2);
    for (int i = 0; i < 32; ++i)
      out[32 * j + i] = group_d * float((q[i] >> shift & 15) | (high[i] >> j & 1) << 4) - group_min;
  }
}

// 16 groups of 16 with 8-bit scales; a value is 4 low bits and 2 high bits, less 32.
void decode_q6_k(Bytes block, float* out) {
  const float d = decode_half(load<uint16_t>(block + 208));
  for (int group = 0; group < 16; ++group) {
    const float group_d = d * float(int8_t(block[192 + group]));
    const int half = group / 8, r = 16 * (group % 8);  // r: index in the half of 128
    const Bytes low = block + 64 * half + r % 64, high = block + 128 + 32 * half + r % 32;
    const int low_shift = 4 * (r / 64), high_shift = 2 * (r / 32);
    for (int i = 0; i < 16; ++i) {
      const int value = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
      out[16 * group + i] = group_d * float(value - 32);
    }
  }
}

template <void (*decode)(Bytes, float*)>
void decode_blocks(Bytes source, int64_t count, float* out, int64_t elements, int64_t bytes) {
  for (int64_t i = 0; i < count / elements; ++i) decode(source + i * bytes, out + i * elements);
}

// The bits are the same with vectors of every width.
PHX_VECTOR_CLONES __attribute__((flatten)) void decode_range(DType dtype, Bytes source, int64_t count,
                                                             float* out) noexcept {
  const int64_t elements = core::block_elements(dtype), bytes = core::block_bytes(dtype);
  switch (dtype) {
    case DType::kF64:
      return decode_f64(source, count, out);
    case DType::kF32:
      std::memcpy(out, source, size_t(count) * 4);
      return;
    case DType::kF16:
      return decode_f16(source, count, out);
    case DType::kBF16:
      return decode_bf16(source, count, out);
    case DType::kQ8_0:
      return decode_blocks<decode_q8_0>(source, count, out, elements, bytes);
    case DType::kQ4_0:
      return decode_blocks<decode_q4_0>(source, count, out, elements, bytes);
    case DType::kQ4_1:
      return decode_blocks<decode_q4_1>(source, count, out, elements, bytes);
    case DType::kQ5_0:
      return decode_blocks<decode_q5_0>(source, count, out, elements, bytes);
    case DType::kQ5_1:
      return decode_blocks<decode_q5_1>(source, count, out, elements, bytes);
    case DType::kQ4_K:
      return decode_blocks<decode_q4_k>(source, count, out, elements, bytes);
    case DType::kQ5_K:
      return decode_blocks<decode_q5_k>(source, count, out, elements, bytes);
    case DType::kQ6_K:
      return decode_blocks<decode_q6_k>(source, count, out, elements, bytes);
    default:
      return;  // check_has_values was called
  }
}

void check_has_values(DType dtype) {
  if (core::is_quantised(dtype) || dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
      dtype == DType::kBF16)
    return;
  core::fail(core::ExitCode::kBadInput,
             "a tensor of type {} has no floating-point values; weights are F64, F32, F16, "
             "BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K",
             core::name(dtype));
}

void encode_range(DType dtype, const float* source, int64_t count, uint8_t* out, int64_t columns,
                  const float* importance) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, source, size_t(count) * 4);
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) {
        const uint16_t half = encode_half(source[i]);
        std::memcpy(out + 2 * i, &half, 2);
      }
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) {
        const uint16_t bits = encode_bfloat16(source[i]);
        std::memcpy(out + 2 * i, &bits, 2);
      }
      return;
    default:
      return encode_blocks(dtype, source, count, out, columns, importance);  // check_is_written was called
  }
}

void check_is_written(DType dtype) {
  using enum DType;
  if (core::is_quantised(dtype) || dtype == kF32 || dtype == kF16 || dtype == kBF16) return;
  core::fail(
      core::ExitCode::kBadConfig,
      "values cannot be written as {}; possible are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, "
      "Q5_K and Q6_K",
      core::name(dtype));
}

// Below this a thread costs more than it saves.
constexpr int64_t kElementsPerThread = 1 << 20;

/// Calls run(first, count) for consecutive pieces that are multiples of `block`, on as many threads as pay.
template <typename Run>
void in_pieces(int64_t num_elements, int64_t block, const Run& run) {
  if (num_elements < 2 * kElementsPerThread) return run(0, num_elements);
  const int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  const int64_t pieces = std::min(num_elements / kElementsPerThread, cores);
  const int64_t piece = (num_elements / block + pieces - 1) / pieces * block;
  std::vector<std::jthread> threads;
  for (int64_t first = piece; first < num_elements; first += piece)
    threads.emplace_back([&run, first, count = std::min(piece, num_elements - first)] { run(first, count); });
  run(0, std::min(piece, num_elements));
}

void check_whole_blocks(DType dtype, int64_t num_elements) {
  if (num_elements % core::block_elements(dtype) != 0)
    core::fail(core::ExitCode::kBadInput, "{} values are not a multiple of the {} block of {}", num_elements,
               core::name(dtype), core::block_elements(dtype));
}

}  // namespace

float half_to_float(uint16_t half) {
  return decode_half(half);
}
uint16_t float_to_half(float value) {
  return encode_half(value);
}
float bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(uint32_t(bits) << 16);
}
uint16_t float_to_bfloat16(float value) {
  return encode_bfloat16(value);
}

void to_float(DType dtype, const std::byte* source, int64_t num_elements, float* destination) {
  check_whole_blocks(dtype, num_elements);
  if (num_elements == 0) return;
  check_has_values(dtype);  // here, not in a thread
  const int64_t elements = core::block_elements(dtype), bytes = core::block_bytes(dtype);
  in_pieces(num_elements, elements, [&](int64_t first, int64_t count) {
    decode_range(dtype, reinterpret_cast<Bytes>(source) + first / elements * bytes, count,
                 destination + first);
  });
}

void from_float(DType dtype, const float* source, int64_t num_elements, std::byte* destination,
                std::span<const float> importance) {
  const auto columns = int64_t(importance.size());
  check_is_written(dtype);
  check_whole_blocks(dtype, columns == 0 ? num_elements : columns);
  if (columns != 0 && num_elements % columns != 0)
    core::fail(core::ExitCode::kBug, "{} values are not rows of the {} that have an importance", num_elements,
               columns);
  const int64_t elements = core::block_elements(dtype), bytes = core::block_bytes(dtype);
  in_pieces(num_elements, std::max(elements, columns), [&](int64_t first, int64_t count) {
    encode_range(dtype, source + first, count,
                 reinterpret_cast<uint8_t*>(destination) + first / elements * bytes, columns,
                 columns == 0 ? nullptr : importance.data());
  });
}

}  // namespace phalanx::formats
