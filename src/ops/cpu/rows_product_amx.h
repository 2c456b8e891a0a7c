#pragma once
#include <cstdint>

/// Products x W^T by the machine's bf16 tiles (AMX). W is the left operand, so that its rows are read once,
/// as they lie; only x is packed, which is best where its rows are few. Call only where isa().amx_bf16.
namespace phalanx::ops::cpu::amx {

constexpr int64_t kTile = 16;   ///< rows of W, and rows of x, of one tile
constexpr int64_t kDepth = 32;  ///< k of one tile; in_features must be a multiple

/// 32-bit words that pack_rows() writes.
inline int64_t packed_words(int64_t num_rows, int64_t in_features) {
  return (num_rows + kTile - 1) / kTile * kTile * in_features / 2;
}
/// x [num_rows, in_features] bf16, contiguous -> [tile of 16 rows][pair along k][row][2], zeros behind the
/// last row.
void pack_rows(uint32_t* packed, const uint16_t* x, int64_t num_rows, int64_t in_features);

struct RowsProduct {
  const uint32_t* x;       ///< packed
  const uint16_t* weight;  ///< [out_features, in_features] bf16, contiguous
  int64_t num_rows, in_features, out_features;
  void* y;  ///< [num_rows, out_features], bf16 or fp32
  bool y_is_bf16;
};

/// Columns [begin, end) of y, `begin` a multiple of 16. Sums in fp32, over k in its order, whatever num_rows
/// is.
void multiply_rows(const RowsProduct& product, int64_t begin, int64_t end);

}  // namespace phalanx::ops::cpu::amx
