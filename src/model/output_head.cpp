#include "model/output_head.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

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

at::Tensor OutputHead::logprobs(const at::Tensor& hidden, const at::Tensor& weight,
                                const at::Tensor& labels) const {
  if (softcap_ == 0) return ops::token_logprobs(hidden, weight, labels);
  return ops::token_logprobs(hidden, weight, labels, ops::capped_cross_entropy(softcap_), weight.size(0));
}

at::Tensor OutputHead::scores(const at::Tensor& hidden, const at::Tensor& weight) const {
  return ops::linear(hidden, weight);
}

// Every row is computed in the same way whatever their number is, and not rounded to the model's dtype.
at::Tensor OutputHead::logits(const at::Tensor& hidden, const at::Tensor& weight) const {
  constexpr int64_t kRows = 16;
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = ops::sum_dtype(hidden);
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < hidden.size(0); row += kRows) {
    const at::Tensor rows = hidden.narrow(0, row, std::min(kRows, hidden.size(0) - row));
    parts.push_back(few_rows_applies(rows, weight) ? few_rows_linear(rows, weight, {}, wide)
                                                   : at::linear(rows, weight).to(wide));
  }
  at::Tensor logits = parts.size() == 1 ? parts[0] : at::cat(parts);
  return softcap_ == 0 ? logits : logits.div_(softcap_).tanh_().mul_(softcap_);
}

}  // namespace phalanx::model
