#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace phalanx::ops {

/// The last n of the T tokens of a sample, as queries over all of them. Keys and values are read head by
/// head, wherever they lie.
struct LastQueries {
  at::Tensor q, out;  // [n, H, d], contiguous; out is written
  int64_t num_tokens, num_key_heads;
  /// Writes keys and values of one head, [T, d] each, in the dtype of q. Called on several threads.
  std::function<void(int64_t head, void* keys, void* values)> read_head;
};

/// Whether attend_last() has a kernel for these tensors on this machine.
bool can_attend_last(const at::Tensor& q);
/// Whether varlen_attention works on these bf16 rows in fp32 throughout, probabilities included: a kernel
/// that does so, too, differs from it by the order of its sums alone.
bool attention_widens(const at::Tensor& q);
/// Causal attention of the last tokens of some samples, with the bits that varlen_attention gives their rows.
/// No gradient.
/// @throws core::Error (78) where it has none.
void attend_last(const std::vector<LastQueries>& samples, double scale);

}  // namespace phalanx::ops
