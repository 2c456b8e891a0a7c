#include <immintrin.h>

#include "ops/cpu/gemm_kernels.h"

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 suspects its own intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
#include "ops/cpu/tile_avx512.h"

namespace phalanx::ops::cpu {
namespace {

constexpr int kTileRows = 12;     // panel height of a
constexpr int kTileColumns = 32;  // panel height of b

template <class From>
PHX_INLINE void pack(uint32_t* dst, const typename From::Source* src, int64_t stride, bool k_contiguous,
                     int rows, int panel, int64_t k) {
  if (panel == kTileRows) {
    k_contiguous ? pack_k_contiguous<From, kTileRows>(dst, src, stride, rows, k)
                 : pack_k_strided<From, kTileRows>(dst, src, stride, rows, k);
  } else {
    k_contiguous ? pack_k_contiguous<From, kTileColumns>(dst, src, stride, rows, k)
                 : pack_k_strided<From, kTileColumns>(dst, src, stride, rows, k);
  }
}

PHX_INLINE void store_row(const BlockProduct& block, __m512 x0, __m512 x1, int64_t row, int64_t column,
                          __mmask16 m0, __mmask16 m1, __m512 scale) {
  if (block.c_is_bf16) {
    uint16_t* c = static_cast<uint16_t*>(block.c) + row * block.c_stride + column;
    _mm256_mask_storeu_epi16(c, m0, round_bf16(_mm512_mul_ps(x0, scale)));
    _mm256_mask_storeu_epi16(c + 16, m1, round_bf16(_mm512_mul_ps(x1, scale)));
    return;
  }
  float* c = static_cast<float*>(block.c) + row * block.c_stride + column;
  const __m512 old0 = block.accumulate ? _mm512_maskz_loadu_ps(m0, c) : _mm512_setzero_ps();
  const __m512 old1 = block.accumulate ? _mm512_maskz_loadu_ps(m1, c + 16) : _mm512_setzero_ps();
  _mm512_mask_storeu_ps(c, m0, _mm512_fmadd_ps(x0, scale, old0));
  _mm512_mask_storeu_ps(c + 16, m1, _mm512_fmadd_ps(x1, scale, old1));
}

// `rows` <= kRows rows of one panel of a; each row's sum is the same whatever kRows is.
template <class Mac, int kRows>
PHX_INLINE void multiply_rows(const BlockProduct& block, const uint32_t* a, const uint32_t* b, int64_t row,
                              int64_t rows, int64_t column, __mmask16 m0, __mmask16 m1, __m512 scale) {
  Tile<kRows> tile;
  multiply_tile<Mac, kRows, kTileRows, 1>(tile, a, b, block.units);
  if (rows == kRows) {
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r)
      store_row(block, tile.value[r][0], tile.value[r][1], row + r, column, m0, m1, scale);
  } else {
    for (int r = 0; r < rows; ++r)
      store_row(block, tile.value[r][0], tile.value[r][1], row + r, column, m0, m1, scale);
  }
}

template <class Mac>
PHX_INLINE void multiply_block(const BlockProduct& block) {
  const __m512 scale = _mm512_set1_ps(block.scale);
  for (int64_t column = 0; column < block.columns; column += kTileColumns) {
    const uint32_t* b = block.b + column * block.units;
    const __mmask16 m0 = first_lanes(block.columns - column), m1 = first_lanes(block.columns - column - 16);
    for (int64_t row = 0; row < block.rows; row += kTileRows) {
      const uint32_t* a = block.a + row * block.units;
      const int64_t rows = block.rows - row < kTileRows ? block.rows - row : kTileRows;
      if (rows > 8) {
        multiply_rows<Mac, kTileRows>(block, a, b, row, rows, column, m0, m1, scale);
      } else if (rows > 4) {
        multiply_rows<Mac, 8>(block, a, b, row, rows, column, m0, m1, scale);
      } else if (rows > 1) {
        multiply_rows<Mac, 4>(block, a, b, row, rows, column, m0, m1, scale);
      } else {
        multiply_rows<Mac, 1>(block, a, b, row, rows, column, m0, m1, scale);
      }
    }
  }
}

void pack_f32(uint32_t* dst, const float* src, int64_t stride, bool k_contiguous, int rows, int panel,
              int64_t k) {
  pack<FromF32>(dst, src, stride, k_contiguous, rows, panel, k);
}
void pack_bf16(uint32_t* dst, const uint16_t* src, int64_t stride, bool k_contiguous, int rows, int panel,
               int64_t k) {
  pack<FromBf16Pairs>(dst, src, stride, k_contiguous, rows, panel, k);
}

void multiply_block_f32(const BlockProduct& block) {
  multiply_block<MacF32>(block);
}
void multiply_block_bf16(const BlockProduct& block) {
  multiply_block<MacBf16>(block);
}

void round_rows(uint16_t* dst, int64_t dst_stride, const float* src, int64_t src_stride, int64_t rows,
                int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < n; j += 16) {
      const __mmask16 mask = first_lanes(n - j);
      const __m512 x = _mm512_maskz_loadu_ps(mask, src + r * src_stride + j);
      _mm256_mask_storeu_epi16(dst + r * dst_stride + j, mask, round_bf16(x));
    }
  }
}

}  // namespace

const GemmKernels kAvx512Gemm = {.tile_rows = kTileRows,
                                 .tile_columns = kTileColumns,
                                 .bf16_per_unit = 2,
                                 .max_depth_units = 768,
                                 .pack_f32 = pack_f32,
                                 .pack_bf16 = pack_bf16,
                                 .multiply_f32 = multiply_block_f32,
                                 .multiply_bf16 = multiply_block_bf16,
                                 .round_rows = round_rows};

}  // namespace phalanx::ops::cpu
#pragma GCC pop_options
