#pragma once
#include <cstdint>

/// What the AVX-512 translation unit offers to gemm.cpp. Operands are packed into panels of `unit`s: one
/// fp32, or a pair of bf16 that are neighbours along k. Panel layout: [k unit][row of the panel].
namespace phalanx::ops::cpu::avx512 {

constexpr int kTileRows = 12;     // panel height of a
constexpr int kTileColumns = 32;  // panel height of b

/// Packs `rows` (<= panel) rows and `k` elements; missing rows and an odd last k are zeros.
/// dst must have room for 16 units beyond its end.
void pack_f32(uint32_t* dst, const float* src, int64_t stride, bool k_contiguous, int rows, int panel,
              int64_t k);
void pack_bf16(uint32_t* dst, const uint16_t* src, int64_t stride, bool k_contiguous, int rows, int panel,
               int64_t k);

/// Packed blocks a (rows x units) and b (columns x units) into c: fp32 (set or add) or bf16 (set).
struct BlockProduct {
  const uint32_t *a, *b;
  int64_t rows, columns, units;
  void* c;
  int64_t c_stride;
  bool c_is_bf16, accumulate;
  float scale;
};
void multiply_block_f32(const BlockProduct& block);
void multiply_block_bf16(const BlockProduct& block);

/// dst [rows, n] bf16 = src [rows, n] fp32, rounded to nearest even.
void round_rows(uint16_t* dst, int64_t dst_stride, const float* src, int64_t src_stride, int64_t rows,
                int64_t n);

}  // namespace phalanx::ops::cpu::avx512
