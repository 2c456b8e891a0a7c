#include "comm/reduce.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

namespace phalanx::comm {
namespace {

constexpr int64_t kBlock = 2048;  // elements: a few blocks of the deepest type stay in the L1 cache

template <typename T>
using Accumulator =
    std::conditional_t<std::is_same_v<T, c10::BFloat16> || std::is_same_v<T, c10::Half>, float, T>;

template <ReduceOp op, typename A>
A join(A a, A b) {
  if constexpr (op == ReduceOp::kSum) {
    if constexpr (std::is_integral_v<A>) {
      using U = std::make_unsigned_t<A>;  // wraps instead of overflowing
      return static_cast<A>(static_cast<U>(a) + static_cast<U>(b));
    } else {
      return a + b;
    }
  } else if constexpr (op == ReduceOp::kMax) {
    return (a > b || a != a) ? a : b;
  } else {
    return (a < b || a != a) ? a : b;
  }
}

/// Both leaves of a pair, straight from the sources: most of the work, and all of it for two ranks.
template <typename T, ReduceOp op>
void join_leaves(Accumulator<T>* out, const T* a, const T* b, int64_t n) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = join<op, A>(static_cast<A>(a[i]), static_cast<A>(b[i]));
}

template <typename T, ReduceOp op>
struct Tree {
  using A = Accumulator<T>;
  const T* const* sources;
  int64_t offset;  // of the block
  int64_t n;       // elements of the block
  A* scratch;      // rows of kBlock

  /// Joins sources [first, first + count) into `out`; may use the scratch rows from `depth` on.
  void run(A* out, int first, int count, int depth) const {
    if (count == 1) {
      const T* leaf = sources[first] + offset;
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<A>(leaf[i]);
      return;
    }
    if (count == 2) return join_leaves<T, op>(out, sources[first] + offset, sources[first + 1] + offset, n);
    const int left = static_cast<int>(std::bit_floor(static_cast<unsigned>(count - 1)));
    run(out, first, left, depth);
    A* right = scratch + depth * kBlock;
    run(right, first + left, count - left, depth + 1);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = join<op, A>(out[i], right[i]);
  }
};

/// Rows for a tree over `count` sources, kept by the thread.
template <typename A>
A* scratch_rows(int count) {
  thread_local std::vector<double> rows;
  const size_t depth = 1 + std::bit_width(static_cast<unsigned>(count));
  rows.resize(std::max(rows.size(), depth * kBlock));
  return reinterpret_cast<A*>(rows.data());
}

template <typename T, ReduceOp op>
void reduce_typed(T* target, T* copy_to, const T* const* sources, int count, int64_t numel) {
  using A = Accumulator<T>;
  A* const scratch = scratch_rows<A>(count);
  for (int64_t offset = 0; offset < numel; offset += kBlock) {
    const int64_t n = std::min(kBlock, numel - offset);
    const Tree<T, op> tree{sources, offset, n, scratch};
    if constexpr (std::is_same_v<T, A>) {
      // A pair reads each element before it is written, so the target may be one of its sources.
      if (count == 2) {
        tree.run(target + offset, 0, count, 0);
      } else {
        tree.run(scratch, 0, count, 1);
        std::memcpy(target + offset, scratch, n * sizeof(T));
      }
    } else {
      tree.run(scratch, 0, count, 1);
      for (int64_t i = 0; i < n; ++i) target[offset + i] = static_cast<T>(scratch[i]);
    }
    if (copy_to != nullptr) std::memcpy(copy_to + offset, target + offset, n * sizeof(T));
  }
}

template <typename T>
void reduce_op(void* target, void* copy_to, std::span<const void* const> sources, int64_t numel,
               ReduceOp op) {
  auto* const out = static_cast<T*>(target);
  auto* const copy = static_cast<T*>(copy_to);
  const auto* const* from = reinterpret_cast<const T* const*>(sources.data());
  const int count = static_cast<int>(sources.size());
  switch (op) {
    case ReduceOp::kSum:
      return reduce_typed<T, ReduceOp::kSum>(out, copy, from, count, numel);
    case ReduceOp::kMax:
      return reduce_typed<T, ReduceOp::kMax>(out, copy, from, count, numel);
    case ReduceOp::kMin:
      return reduce_typed<T, ReduceOp::kMin>(out, copy, from, count, numel);
  }
}

}  // namespace

void tree_reduce(void* target, void* copy_to, std::span<const void* const> sources, int64_t numel,
                 c10::ScalarType dtype, ReduceOp op) {
  switch (dtype) {
    case c10::ScalarType::Double:
      return reduce_op<double>(target, copy_to, sources, numel, op);
    case c10::ScalarType::Float:
      return reduce_op<float>(target, copy_to, sources, numel, op);
    case c10::ScalarType::BFloat16:
      return reduce_op<c10::BFloat16>(target, copy_to, sources, numel, op);
    case c10::ScalarType::Half:
      return reduce_op<c10::Half>(target, copy_to, sources, numel, op);
    case c10::ScalarType::Long:
      return reduce_op<int64_t>(target, copy_to, sources, numel, op);
    case c10::ScalarType::Int:
      return reduce_op<int32_t>(target, copy_to, sources, numel, op);
    case c10::ScalarType::Byte:
      return reduce_op<uint8_t>(target, copy_to, sources, numel, op);
    default:
      TORCH_INTERNAL_ASSERT(false, "no reduction for dtype ", dtype);
  }
}

Range even_part(int64_t numel, int parts, int part) {
  const int64_t base = numel / parts;
  const int64_t larger = numel % parts;
  const int64_t begin = part * base + std::min<int64_t>(part, larger);
  return {begin, begin + base + (part < larger ? 1 : 0)};
}

}  // namespace phalanx::comm
