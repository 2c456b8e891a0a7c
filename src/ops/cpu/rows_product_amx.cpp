#include "ops/cpu/rows_product_amx.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "ops/cpu/workspace.h"

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 suspects its own intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,fma,avx2")
#include "ops/cpu/tile_avx512.h"

namespace phalanx::ops::cpu::amx {
namespace {

constexpr int64_t kTileWords = kTile * kTile;  // of a packed tile of x, and of a tile of sums
constexpr int64_t kMaxBlock = 4;               // tiles of W that are at work at a time

/// The layout that LDTILECFG reads: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// Rows of W from `weight` on against rows of x.
struct Block {
  const uint16_t* weight;
  const uint32_t* x;
  int64_t in_features;
};

// sums [kW][kX][16 rows of W][16 rows of x]. Tiles 0 to 3 hold the sums, 4, 5 and 7 W, 6 and 7 x.
template <int kW, int kX>
PHX_INLINE void multiply_block(const Block& block, float* sums) {
  static_assert((kX == 1 && kW <= 4) || (kX == 2 && kW <= 2));
  const int64_t steps = block.in_features / kDepth, row_bytes = block.in_features * 2;
  const int64_t tile_row = kTile * block.in_features;  // elements of 16 rows of W
  const int64_t x_group = block.in_features / 2 * kTile;
  _tile_zero(0);
  if constexpr (kW * kX > 1) _tile_zero(1);
  if constexpr (kW * kX > 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint16_t* w = block.weight;
  const uint32_t* x = block.x;
  for (int64_t s = 0; s < steps; ++s, w += kDepth, x += kTileWords) {
    _tile_loadd(6, x, 64);
    _tile_loadd(4, w, row_bytes);
    if constexpr (kX == 1) {
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kW == 4) {
        _tile_loadd(5, w + tile_row, row_bytes);
        _tile_dpbf16ps(1, 5, 6);
        _tile_loadd(7, w + 2 * tile_row, row_bytes);
        _tile_dpbf16ps(2, 7, 6);
        _tile_loadd(4, w + 3 * tile_row, row_bytes);
        _tile_dpbf16ps(3, 4, 6);
      }
    } else {
      _tile_loadd(7, x + x_group, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kW == 2) {
        _tile_loadd(5, w + tile_row, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, sums, 64);
  if constexpr (kW * kX > 1) _tile_stored(1, sums + kTileWords, 64);
  if constexpr (kW * kX > 2) {
    _tile_stored(2, sums + 2 * kTileWords, 64);
    _tile_stored(3, sums + 3 * kTileWords, 64);
  }
}

// y(row, column) from sums [16 columns][16 rows].
PHX_INLINE void store_tile(const RowsProduct& p, const float* sums, int64_t row, int64_t column) {
  const int64_t rows = std::min(kTile, p.num_rows - row);
  const __mmask16 columns = first_lanes(p.out_features - column);
  __m512i lanes[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) lanes[i] = _mm512_load_si512(sums + i * 16);
  transpose16(lanes);
  alignas(64) float by_row[kTileWords];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_store_si512(by_row + i * 16, lanes[i]);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t offset = (row + i) * p.out_features + column;
    const __m512 values = _mm512_load_ps(by_row + i * 16);
    if (p.y_is_bf16) {
      _mm256_mask_storeu_epi16(static_cast<uint16_t*>(p.y) + offset, columns, round_bf16(values));
    } else {
      _mm512_mask_storeu_ps(static_cast<float*>(p.y) + offset, columns, values);
    }
  }
}

// All rows of x against kW tiles of W.
template <int kW>
PHX_INLINE void multiply_all_rows(const RowsProduct& p, const uint16_t* weight, int64_t column) {
  alignas(64) float sums[kMaxBlock * kTileWords];
  const int64_t x_group = p.in_features / 2 * kTile;
  int64_t row = 0;
  if constexpr (kW <= 2) {
    for (; row + kTile < p.num_rows; row += 2 * kTile) {
      multiply_block<kW, 2>({weight, p.x + row / kTile * x_group, p.in_features}, sums);
      for (int w = 0; w < kW; ++w) {
        for (int g = 0; g < 2; ++g)
          store_tile(p, sums + (w * 2 + g) * kTileWords, row + g * kTile, column + w * kTile);
      }
    }
    if (row >= p.num_rows) return;
  }
  constexpr int kAtOnce = kW == 2 ? 1 : kW;
  for (int w = 0; w < kW; w += kAtOnce) {
    multiply_block<kAtOnce, 1>(
        {weight + w * kTile * p.in_features, p.x + row / kTile * x_group, p.in_features}, sums);
    for (int i = 0; i < kAtOnce; ++i) store_tile(p, sums + i * kTileWords, row, column + (w + i) * kTile);
  }
}

}  // namespace

void pack_rows(uint32_t* packed, const uint16_t* x, int64_t num_rows, int64_t in_features) {
  const int64_t x_group = in_features / 2 * kTile;
  for (int64_t row = 0; row < num_rows; row += kTile, packed += x_group)
    pack_k_contiguous<FromBf16Pairs, kTile>(packed, x + row * in_features, in_features,
                                            static_cast<int>(std::min(kTile, num_rows - row)), in_features);
}

void multiply_rows(const RowsProduct& p, int64_t begin, int64_t end) {
  const TileConfig config;
  _tile_loadconfig(&config);
  asm volatile("" ::: "memory");  // the tile loads below do not say what they read
  const int64_t block = p.num_rows <= kTile ? 4 : 2;
  int64_t column = begin;
  for (; column + block * kTile <= end; column += block * kTile) {
    const uint16_t* weight = p.weight + column * p.in_features;
    block == 4 ? multiply_all_rows<4>(p, weight, column) : multiply_all_rows<2>(p, weight, column);
  }
  for (; column + kTile <= end; column += kTile)
    multiply_all_rows<1>(p, p.weight + column * p.in_features, column);
  if (column < end) {  // fewer rows of W than a tile
    const int64_t rest_bytes = (end - column) * p.in_features * 2;
    auto* rest = static_cast<char*>(scratch(Scratch::kPackB, static_cast<size_t>(kTile * p.in_features * 2)));
    std::memcpy(rest, p.weight + column * p.in_features, static_cast<size_t>(rest_bytes));
    std::memset(rest + rest_bytes, 0, static_cast<size_t>(kTile * p.in_features * 2 - rest_bytes));
    asm volatile("" ::: "memory");
    multiply_all_rows<1>(p, reinterpret_cast<const uint16_t*>(rest), column);
  }
  _tile_release();
}

}  // namespace phalanx::ops::cpu::amx
#pragma GCC pop_options
