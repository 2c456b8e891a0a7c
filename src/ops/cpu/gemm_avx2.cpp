#include <immintrin.h>

#include "ops/cpu/gemm_kernels.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")

#define PHX_INLINE inline __attribute__((always_inline))

namespace phalanx::ops::cpu {
namespace {

constexpr int kTileRows = 6;      // panel height of a
constexpr int kTileColumns = 16;  // panel height of b

PHX_INLINE __m256 load8(const float* p) {
  return _mm256_loadu_ps(p);
}
PHX_INLINE __m256 load8(const uint16_t* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
PHX_INLINE float widen(float x) {
  return x;
}
PHX_INLINE float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  __builtin_memcpy(&x, &wide, 4);
  return x;
}

/// The first `count` of 8 lanes, the others 0; nothing beyond them is read.
template <class T>
PHX_INLINE __m256 load_first(const T* p, int64_t count) {
  if (count >= 8) return load8(p);
  alignas(32) float lanes[8] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = widen(p[i]);
  return _mm256_load_ps(lanes);
}

PHX_INLINE void transpose8(__m256 r[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

/// The rows of a panel that lie in these 8 lanes: exactly as many floats are written, as another thread has
/// the next panel.
template <int kLanes>
PHX_INLINE void store_lanes(float* dst, __m256 x) {
  if constexpr (kLanes == 8) {
    _mm256_storeu_ps(dst, x);
  } else {
    static_assert(kLanes == 6);
    _mm_storeu_ps(dst, _mm256_castps256_ps128(x));
    _mm_storel_pi(reinterpret_cast<__m64*>(dst + 4), _mm256_extractf128_ps(x, 1));
  }
}

template <class T, int kPanel>
void pack_k_contiguous(float* dst, const T* src, int64_t stride, int rows, int64_t k) {
  constexpr int kLanes = kPanel < 8 ? kPanel : 8;
  for (int64_t k0 = 0; k0 < k; k0 += 8) {
    const int64_t count = k - k0 < 8 ? k - k0 : 8;
#pragma GCC unroll 2
    for (int half = 0; half < kPanel; half += 8) {
      __m256 r[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        r[i] = half + i < rows ? load_first(src + (half + i) * stride + k0, count) : _mm256_setzero_ps();
      transpose8(r);
      for (int i = 0; i < count; ++i) store_lanes<kLanes>(dst + (k0 + i) * kPanel + half, r[i]);
    }
  }
}

template <class T, int kPanel>
void pack_k_strided(float* dst, const T* src, int64_t stride, int rows, int64_t k) {
  constexpr int kLanes = kPanel < 8 ? kPanel : 8;
  for (int64_t i = 0; i < k; ++i, dst += kPanel, src += stride) {
#pragma GCC unroll 2
    for (int half = 0; half < kPanel; half += 8) {
      const int64_t valid = rows - half < kLanes ? rows - half : kLanes;
      store_lanes<kLanes>(dst + half, load_first(src + half, valid < 0 ? 0 : valid));
    }
  }
}

template <class T>
void pack(uint32_t* dst, const T* src, int64_t stride, bool k_contiguous, int rows, int panel, int64_t k) {
  auto* out = reinterpret_cast<float*>(dst);
  if (panel == kTileRows) {
    k_contiguous ? pack_k_contiguous<T, kTileRows>(out, src, stride, rows, k)
                 : pack_k_strided<T, kTileRows>(out, src, stride, rows, k);
  } else {
    k_contiguous ? pack_k_contiguous<T, kTileColumns>(out, src, stride, rows, k)
                 : pack_k_strided<T, kTileColumns>(out, src, stride, rows, k);
  }
}

/// Rounded to nearest even; NaN stays NaN.
PHX_INLINE __m128i round_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  rounded = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
  const __m256i packed = _mm256_packus_epi32(rounded, rounded);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}

PHX_INLINE void store_row(const BlockProduct& block, __m256 x0, __m256 x1, int64_t row, int64_t column,
                          __m256 scale) {
  if (block.c_is_bf16) {
    auto* c = reinterpret_cast<__m128i*>(static_cast<uint16_t*>(block.c) + row * block.c_stride + column);
    _mm_storeu_si128(c, round_bf16(_mm256_mul_ps(x0, scale)));
    _mm_storeu_si128(c + 1, round_bf16(_mm256_mul_ps(x1, scale)));
    return;
  }
  float* c = static_cast<float*>(block.c) + row * block.c_stride + column;
  const __m256 old0 = block.accumulate ? _mm256_loadu_ps(c) : _mm256_setzero_ps();
  const __m256 old1 = block.accumulate ? _mm256_loadu_ps(c + 8) : _mm256_setzero_ps();
  _mm256_storeu_ps(c, _mm256_fmadd_ps(x0, scale, old0));
  _mm256_storeu_ps(c + 8, _mm256_fmadd_ps(x1, scale, old1));
}

/// A tile at the edge of c, through memory.
PHX_INLINE void store_edge(const BlockProduct& block, const __m256 (&tile)[kTileRows][2], int64_t row,
                           int64_t column, __m256 scale) {
  alignas(32) float values[kTileRows][kTileColumns];
  alignas(32) uint16_t rounded[kTileRows][kTileColumns];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256 x = _mm256_mul_ps(tile[r][h], scale);
      _mm256_store_ps(values[r] + 8 * h, x);
      _mm_store_si128(reinterpret_cast<__m128i*>(rounded[r] + 8 * h), round_bf16(x));
    }
  }
  const int64_t rows = block.rows - row, columns = block.columns - column;
  for (int64_t r = 0; r < rows && r < kTileRows; ++r) {
    for (int64_t j = 0; j < columns && j < kTileColumns; ++j) {
      const int64_t at = (row + r) * block.c_stride + column + j;
      if (block.c_is_bf16) {
        static_cast<uint16_t*>(block.c)[at] = rounded[r][j];
      } else {
        float* c = static_cast<float*>(block.c) + at;
        *c = block.accumulate ? *c + values[r][j] : values[r][j];
      }
    }
  }
}

void multiply_block(const BlockProduct& block) {
  const __m256 scale = _mm256_set1_ps(block.scale);
  for (int64_t column = 0; column < block.columns; column += kTileColumns) {
    for (int64_t row = 0; row < block.rows; row += kTileRows) {
      const float* a = reinterpret_cast<const float*>(block.a) + row * block.units;
      const float* b = reinterpret_cast<const float*>(block.b) + column * block.units;
      __m256 tile[kTileRows][2];
#pragma GCC unroll 6
      for (int r = 0; r < kTileRows; ++r) tile[r][0] = tile[r][1] = _mm256_setzero_ps();
#pragma GCC unroll 4
      for (int64_t u = 0; u < block.units; ++u, a += kTileRows, b += kTileColumns) {
        const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
        for (int r = 0; r < kTileRows; ++r) {
          const __m256 x = _mm256_broadcast_ss(a + r);
          tile[r][0] = _mm256_fmadd_ps(x, b0, tile[r][0]);
          tile[r][1] = _mm256_fmadd_ps(x, b1, tile[r][1]);
        }
      }
      if (block.rows - row >= kTileRows && block.columns - column >= kTileColumns) {
#pragma GCC unroll 6
        for (int r = 0; r < kTileRows; ++r) store_row(block, tile[r][0], tile[r][1], row + r, column, scale);
      } else {
        store_edge(block, tile, row, column, scale);
      }
    }
  }
}

void round_rows(uint16_t* dst, int64_t dst_stride, const float* src, int64_t src_stride, int64_t rows,
                int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < n; j += 8) {
      const int64_t count = n - j;
      const __m128i x = round_bf16(load_first(src + r * src_stride + j, count));
      uint16_t* out = dst + r * dst_stride + j;
      if (count >= 8) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), x);
      } else {
        alignas(16) uint16_t lanes[8];
        _mm_store_si128(reinterpret_cast<__m128i*>(lanes), x);
        for (int64_t i = 0; i < count; ++i) out[i] = lanes[i];
      }
    }
  }
}

}  // namespace

const GemmKernels kAvx2Gemm = {.tile_rows = kTileRows,
                               .tile_columns = kTileColumns,
                               .bf16_per_unit = 1,
                               .max_depth_units = 256,
                               .pack_f32 = pack<float>,
                               .pack_bf16 = pack<uint16_t>,
                               .multiply_f32 = multiply_block,
                               .multiply_bf16 = multiply_block,
                               .round_rows = round_rows};

}  // namespace phalanx::ops::cpu
#pragma GCC pop_options
