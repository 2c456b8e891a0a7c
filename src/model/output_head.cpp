#include "model/output_head.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "model/few_rows.h"
#include "ops/ops.h"
#include "ops/sum_dtype.h"

namespace phalanx::model {

at::Tensor OutputHead::cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                     const at::Tensor& labels, double grad_scale) const {
  if (softcap_ == 0) return ops::linear_cross_entropy(hidden, weight, labels, grad_scale);
  return ops::linear_cross_entropy(hidden, weight, labels, grad_scale, ops::capped_cross_entropy(softcap_),
                                   weight.size(0));
}

at::Tensor OutputHead::logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                                const ops::LogprobOptions& options) const {
  if (softcap_ == 0) return ops::token_logprobs(hidden, weight, labels, options);
  return ops::token_logprobs(hidden, weight, labels, ops::capped_cross_entropy(softcap_), weight.size(0),
                             options);
}

at::Tensor OutputHead::scores(const at::Tensor& hidden, const at::Tensor& weight,
                              const at::Tensor& bias) const {
  return ops::linear(hidden, weight, bias);
}

// Not rounded to the model's dtype.
at::Tensor OutputHead::logits(const at::Tensor& hidden, const at::Tensor& weight) const {
  const at::NoGradGuard no_grad;
  at::Tensor logits = few_rows_applies(hidden, weight)
                          ? few_rows_linear(hidden, weight, {}, ops::sum_dtype(hidden))
                          : ops::wide_logits(hidden.contiguous(), weight);
  return softcap_ == 0 ? logits : logits.div_(softcap_).tanh_().mul_(softcap_);
}

}  // namespace phalanx::model
