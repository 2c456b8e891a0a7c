#pragma once
#include <cstddef>
#include <cstdint>

namespace phalanx::ops::cpu {

/// Element strides between tokens; heads of a group are `dim` apart, their lse rows `lse_stride` apart.
struct AttentionForward {
  const void *q, *k, *v;  ///< q of query first_query and the first head of the group; k, v of the first token
  void* out;              ///< as q
  float* lse;             ///< as q
  int64_t q_stride, kv_stride, out_stride, lse_stride;
  int64_t tokens, first_query,
      last_query;  ///< queries [first, last) of the sample; last is `tokens`, or both are multiples of 32
  int group, dim;
  float scale;
};
/// Pointers to the first token of the sample.
struct AttentionBackward {
  const void *q, *k, *v, *out, *dout;
  const float* lse;
  void *dq, *dk, *dv;
  int64_t q_stride, kv_stride, lse_stride;  ///< q, out, dout, dq are contiguous alike; k, v, dk, dv too
  int64_t tokens;
  int group, dim;
  float scale;
};

/// Flash attention (Dao et al. 2022) of one sample and one key head, with lanes = queries: the transposed
/// scores S^T [keys, 32 queries] keep row maxima and sums in vectors, and P^T is the right-hand operand of
/// O^T = V^T P^T as it lies. All query heads of the group share the packed keys and values.
namespace avx512 {

enum class AttentionKind {
  kF32,          ///< fp32 tensors, FMA
  kBF16,         ///< bf16 tensors, VDPBF16PS
  kBF16Widened,  ///< bf16 tensors, products in fp32
};

size_t forward_scratch_bytes(int64_t tokens, int dim);
size_t backward_scratch_bytes(int64_t tokens, int dim);
/// `work` is 64-byte aligned scratch of at least the size above.
void attention_forward(AttentionKind kind, const AttentionForward& task, void* work);
void attention_backward(AttentionKind kind, const AttentionBackward& task, void* work);

}  // namespace avx512

}  // namespace phalanx::ops::cpu
