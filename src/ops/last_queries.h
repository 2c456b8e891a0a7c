#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace phalanx::ops {

/// The last n of the T tokens of a sample, as queries over all of them.
struct LastQueries {
  at::Tensor q;     // [n, H, d], contiguous
  at::Tensor k, v;  // [T, K, d], contiguous
  at::Tensor out;   // as q; written
};

/// Causal attention of the last tokens of some samples, with the bits that varlen_attention gives their rows.
/// No gradient.
/// @throws core::Error (78) where varlen_attention has no kernel of its own.
void attend_last(const std::vector<LastQueries>& samples, double scale);

}  // namespace phalanx::ops
