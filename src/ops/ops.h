#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

/// Fused, differentiable tensor operations. Every tensor is 2-D or 3-D over a flat token axis N (no padding; see
/// data/batch.h). Compute dtypes: fp64, fp32, bf16 (sums inside an operation in fp32, fp64 for fp64). None talks to
/// another rank. Each has its own backward; what is saved for it is stated.
namespace phalanx::ops {

/// y = x W^T (+ b). x [N, in], weight [out, in] of the same dtype, bias [out] or undefined.
/// Saves x only if the weight needs a gradient. The input gradient and the weight gradient are separate products.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// Low-rank adapted product (Hu et al. 2021): y = x W^T + scale (x A^T) B^T with W frozen.
/// x [N, in], weight [out, in] (no gradient), lora_a [r, in], lora_b [out, r]; all of one dtype.
/// Saves x and x A^T; the delta is added in place, never materialised beside y.
at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& lora_a, const at::Tensor& lora_b, double scale);

/// y = x / sqrt(mean(x^2) + eps) * w (Zhang & Sennrich 2019). x [N, h], weight [h]. Saves x and 1/rms [N] fp32.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
/// h = x + residual and its norm in one pass: returns {rms_norm(h), h}.
std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, double eps);

/// Rotary embedding (Su et al. 2021), half-split pairing (j, j + d/2) as Hugging Face has it.
/// x [N, H, d]; cos, sin [N, d/2] fp32 (fp64 for fp64), one row per token. Saves cos and sin only.
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
/// cos and sin rows for the given positions [N] int64 and inverse frequencies [d/2] fp64: angles in fp32 as transformers does.
std::pair<at::Tensor, at::Tensor> rope_rows(const at::Tensor& position_ids, const at::Tensor& inverse_frequencies, at::ScalarType dtype);

/// silu(gate) * up, element by element. [N, f] each. Saves gate and up; the product is recomputed by who needs it.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// Causal attention inside each sample, never across: softmax(scale q k^T) v.
/// q [N, H, d], k and v [N, K, d] with H a multiple of K (grouped queries); cu_seqlens [S + 1] on the host.
/// Memory is linear in N: q, k, v, the output and one log-sum-exp per row and head are saved.
at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<int32_t>& cu_seqlens, double scale);

/// Sum over the labelled rows of -log softmax(hidden W^T)[label], without ever holding the logits of all rows.
/// hidden [N, h]; weight [V, h]; labels [N] int64, -100 ignored. Returns a scalar in fp32 (fp64 for fp64), NOT divided:
/// pass `grad_scale` (1 / global target tokens) as the factor by which the loss is multiplied.
/// Rows go in chunks; forward computes the gradients of hidden (saved) and weight (fp32 accumulation) right away when
/// they are needed, so the backward is one scaling. `row_losses`, if not null, receives [N] per-token losses in nats
/// (0 where ignored).
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, double grad_scale,
                                at::Tensor* row_losses = nullptr);

/// log p(label) of each row in nats, fp32 [N] (0 where ignored), chunked, no gradient.
at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels);

/// One decoupled-weight-decay Adam step (Loshchilov & Hutter 2019) in one pass over memory.
///     g' = grad_scale g;  m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2
///     p = p - lr (wd p + (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps))
/// param, grad, exp_avg, exp_avg_sq: contiguous, one length, fp32 (or all fp64). `compute_copy`, if defined, receives
/// the rounded new weights (bf16) in the same pass.
struct AdamWOptions {
  double learning_rate, beta1, beta2, eps, weight_decay;
};
void adamw_(at::Tensor param, const at::Tensor& grad, at::Tensor exp_avg, at::Tensor exp_avg_sq, const AdamWOptions& options,
            int64_t step, double grad_scale, at::Tensor compute_copy = {});

/// Sum of squares of all elements in fp64, in a fixed order that depends on nothing but the length.
double squared_norm(const at::Tensor& tensor);

}  // namespace phalanx::ops
