#pragma once
#include <ATen/core/Tensor.h>

#include "ops/cross_entropy.h"

namespace phalanx::model {

/// From final hidden states [N, h] and the output matrix [V, h] to losses, log-probabilities and logits. A
/// scheme that cuts the vocabulary puts another one in its place: `weight` then holds some of the rows, the
/// results are the same.
class OutputHead {
 public:
  /// @param softcap  more than 0: logits z become softcap tanh(z / softcap).
  explicit OutputHead(double softcap = 0) : softcap_(softcap) {}
  virtual ~OutputHead() = default;
  /// ops::linear_cross_entropy.
  virtual at::Tensor cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                   const at::Tensor& labels, double grad_scale) const;
  /// ops::token_logprobs: [N] nats, differentiable.
  virtual at::Tensor logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                              const ops::LogprobOptions& options) const;
  /// Of a model that scores sequences or tokens: hidden W^T (+ bias), [N, num_labels], differentiable.
  virtual at::Tensor scores(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias) const;
  /// fp32 [N, V] (fp64 for fp64), no gradient; few rows.
  virtual at::Tensor logits(const at::Tensor& hidden, const at::Tensor& weight) const;

 protected:
  double softcap() const { return softcap_; }

 private:
  double softcap_;
};

}  // namespace phalanx::model
