#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace phalanx::ops {

/// Most memory that the logits of one chunk take on a CPU (fp32; unless 16 rows alone need more).
constexpr int64_t kLogitsBudgetBytes = int64_t{64} << 20;

/// Sum over the labelled rows of -log softmax(hidden W^T)[label], without ever holding the logits of all
/// rows. hidden [N, h]; weight [V, h]; labels [N] int64, -100 ignored. Returns a scalar in fp32 (fp64 for
/// fp64), NOT divided: pass `grad_scale` (1 / global target tokens) as the factor by which the loss is
/// multiplied. Rows go in chunks; forward computes the gradients of hidden (saved) and weight (fp32
/// accumulation) right away when they are needed, so the backward is one scaling. `row_losses`, if not null,
/// receives [N] per-token losses in nats (0 where ignored). A weight with a GradSink gets its gradient added
/// there already in the forward; the loss must then be multiplied by exactly `grad_scale` before backward(),
/// which is checked.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                                double grad_scale, at::Tensor* row_losses = nullptr);

/// log p(label) of each row in nats, fp32 [N] (fp64 for fp64; 0 where ignored), without ever holding the
/// logits of all rows. Differentiable, for losses that are not a sum over rows: the backward forms the logits
/// of a chunk once more, so that it costs one product more than linear_cross_entropy's. Under NoGradMode it
/// costs one product.
struct LogprobOptions {
  double temperature = 1;           ///< logits are divided by it, behind a soft cap
  at::Tensor* entropies = nullptr;  ///< receives [N], in nats, of softmax(logits / temperature): no gradient,
                                    ///< 0 where ignored; costs no product
};
at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                          const LogprobOptions& options = {});

/// Some labelled rows on their way through a cross-entropy.
struct CrossEntropyRows {
  at::Tensor hidden, labels;            // [n, h], [n]
  at::Tensor losses;                    // [n], written
  at::Tensor entropies;                 // [n], written; or undefined, as with gradients
  at::Tensor hidden_grad, weight_grad;  // [n, h] written, [V, h] added to; or undefined
  at::Tensor grad_scales;               // [n] d(loss) / d(losses), in the dtype of losses
  double temperature = 1;               // what logits are divided by
  bool wants_gradient() const { return hidden_grad.defined() || weight_grad.defined(); }
};
using CrossEntropyKernel = std::function<void(const CrossEntropyRows& rows, const at::Tensor& weight)>;

/// The same two with another way to treat a chunk of rows, for a weight that holds only some of the
/// `vocab_size` rows of the output matrix.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                                double grad_scale, const CrossEntropyKernel& kernel, int64_t vocab_size);
at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                          const CrossEntropyKernel& kernel, int64_t vocab_size,
                          const LogprobOptions& options = {});

/// Soft-capped logits, z = softcap tanh(hidden W^T / softcap) (Gemma Team 2024, arXiv:2408.00118), in place
/// of hidden W^T. ATen's operations on one chunk at a time: its logits are held four times.
CrossEntropyKernel capped_cross_entropy(double softcap);

/// hidden [n, h] weight[V, h]^T, not rounded to the dtype of the operands: fp32 [n, V] (fp64 for fp64). No
/// gradient.
at::Tensor wide_logits(const at::Tensor& hidden, const at::Tensor& weight);

}  // namespace phalanx::ops
