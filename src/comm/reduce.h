#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>

#include "comm/communicator.h"

namespace phalanx::comm {

/// target[i] = sources[0][i] op sources[1][i] op ..., joined in one fixed binary tree: the left half of the
/// sources, up to the largest power of two below their number, then the rest: ((0+1)+(2+3))+4. The result
/// depends on nothing else: not on how a tensor is cut into pieces, nor on timing. bf16 and fp16 sums stay in
/// fp32 up the tree and are rounded once; integers wrap. NaN: max and min return NaN when a source has one.
/// @param sources  at least one; each `numel` elements of `dtype`. `target` may be one of them, not overlap
/// one partly.
/// @param copy_to  if not null, a second place for the result.
void tree_reduce(void* target, void* copy_to, std::span<const void* const> sources, int64_t numel,
                 c10::ScalarType dtype, ReduceOp op);

/// [begin, end) of the elements that rank `part` of `parts` owns when `numel` are dealt out evenly, the first
/// ones larger.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};
Range even_part(int64_t numel, int parts, int part);

}  // namespace phalanx::comm
