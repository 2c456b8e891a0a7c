#pragma once

namespace phalanx::ops {

/// While one lives, forwards of this thread compute every row alike, whichever other rows are in the call:
/// linear products, attention (with a cache or without) and log-probabilities of a token have the same bits
/// alone, in a batch, in a chunk of a prompt and in a training step. All products then take the packed
/// kernels (cpu/gemm.h), whose sums run over k in one order, and attention over a cache takes the training
/// kernel, whose sums run over the keys in one order. fp32 and bf16 in host memory; anything else is an error
/// (78).
class BatchInvariant {
 public:
  explicit BatchInvariant(bool wanted = true);
  ~BatchInvariant();
  BatchInvariant(const BatchInvariant&) = delete;
  BatchInvariant& operator=(const BatchInvariant&) = delete;
  static bool is_active();
  /// @throws core::Error (78): rollout.batch_invariant does not go with `what`.
  [[noreturn]] static void refuse(const char* what);

 private:
  bool outer_;
};

}  // namespace phalanx::ops
