#pragma once
#include <cstdint>

/// What a translation unit of one instruction set offers to gemm.cpp. Operands are packed into panels of
/// `unit`s: one fp32, or a pair of bf16 that are neighbours along k. Panel layout: [k unit][row of the
/// panel].
namespace phalanx::ops::cpu {

/// Packed blocks a (rows x units) and b (columns x units) into c: fp32 (set or add) or bf16 (set).
struct BlockProduct {
  const uint32_t *a, *b;
  int64_t rows, columns, units;
  void* c;
  int64_t c_stride;
  bool c_is_bf16, accumulate;
  float scale;
};

/// Packs `rows` (<= panel) rows and `k` elements; missing rows and an odd last k of pairs are zeros. dst must
/// have room for 16 units beyond its end.
template <class T>
using PackRows = void(uint32_t* dst, const T* src, int64_t stride, bool k_contiguous, int rows, int panel,
                      int64_t k);

struct GemmKernels {
  int tile_rows, tile_columns;  ///< panel heights of a and b
  int bf16_per_unit;            ///< 2: pairs for a dot product; 1: widened to fp32
  int64_t max_depth_units;      ///< k of one pass: what the innermost loop reads stays in its cache
  PackRows<float>* pack_f32;
  PackRows<uint16_t>* pack_bf16;
  void (*multiply_f32)(const BlockProduct& block);
  void (*multiply_bf16)(const BlockProduct& block);
  /// dst [rows, n] bf16 = src [rows, n] fp32, rounded to nearest even.
  void (*round_rows)(uint16_t* dst, int64_t dst_stride, const float* src, int64_t src_stride, int64_t rows,
                     int64_t n);
};

// One table per translation unit.
extern const GemmKernels kAvx2Gemm, kAvx512Gemm;

}  // namespace phalanx::ops::cpu
