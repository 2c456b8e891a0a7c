#include "lora/adapted_product.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "model/few_rows.h"
#include "ops/linear.h"
#include "ops/row_scale.h"
#include "ops/sum_dtype.h"

namespace phalanx::lora {
namespace {

// x W^T + scale (x A^T) B^T, without the bias.
at::Tensor low_rank_product(const AdaptedLinear& m, const at::Tensor& weight, const at::Tensor& x) {
  return ops::lora_linear(x, weight, m.a, m.b, m.scale);
}

// The same for decoding, with the bias, in fp32.
at::Tensor few_rows_product(const AdaptedLinear& m, const model::Linear& self, const at::Tensor& bias,
                            const at::Tensor& x) {
  at::Tensor y = model::few_rows_linear(x, self.weight, bias, at::kFloat);
  const at::Tensor xa = model::few_rows_linear(x, m.a, {}, x.scalar_type());
  return y.add_(model::few_rows_linear(xa, m.b, {}, at::kFloat), m.scale);
}

at::Tensor lora(const AdaptedLinear& m, const model::Linear& self, const at::Tensor& x) {
  if (model::few_rows_applies(x, self.weight))
    return few_rows_product(m, self, self.bias, x).to(x.scalar_type());
  const at::Tensor y = low_rank_product(m, self.weight, x);
  return self.bias.defined() ? y + self.bias : y;
}

at::Tensor dora(const AdaptedLinear& m, const model::Linear& self, const at::Tensor& norms,
                const at::Tensor& x) {
  if (model::few_rows_applies(x, self.weight)) {
    at::Tensor y = few_rows_product(m, self, {}, x).mul_(m.magnitude.to(norms.scalar_type()) / norms);
    if (self.bias.defined()) y.add_(self.bias);
    return y.to(x.scalar_type());
  }
  const at::Tensor y = ops::row_scale(low_rank_product(m, self.weight, x), m.magnitude, norms);
  return self.bias.defined() ? y + self.bias : y;
}

}  // namespace

model::Linear::Product adapted_product(const AdaptedLinear& adapted, std::shared_ptr<const bool> enabled,
                                       bool trainable) {
  // The Linear owns the product: a pointer back to it would keep both alive for ever.
  AdaptedLinear m = adapted;
  m.linear.reset();
  if (!m.magnitude.defined()) {
    return [m, enabled](const model::Linear& self, const at::Tensor& x) {
      return *enabled ? lora(m, self, x) : self.base(x);
    };
  }
  const auto constant = trainable ? nullptr : std::make_shared<at::Tensor>();
  return [m, enabled, constant](const model::Linear& self, const at::Tensor& x) {
    if (!*enabled) return self.base(x);
    const auto norms = [&] { return row_norms(self, m.a, m.b, m.scale); };
    if (!constant) return dora(m, self, norms(), x);
    if (!constant->defined()) *constant = norms();
    return dora(m, self, *constant, x);
  };
}

at::Tensor row_norms(const model::Linear& linear, const at::Tensor& factor_a, const at::Tensor& factor_b,
                     double scale) {
  constexpr int64_t kRows = 512;  // a few at a time: no second matrix stands beside W
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = ops::sum_dtype(linear.weight);
  const at::Tensor weight = linear.weight.detach(), b = factor_b.detach(), a = factor_a.detach().to(wide);
  at::Tensor squares = at::empty({weight.size(0)}, wide);
  for (int64_t row = 0; row < weight.size(0); row += kRows) {
    const int64_t end = std::min(row + kRows, weight.size(0));
    const at::Tensor rows =
        at::addmm(weight.slice(0, row, end).to(wide), b.slice(0, row, end).to(wide), a, 1.0, scale);
    squares.slice(0, row, end).copy_(rows.square_().sum(1));
  }
  return linear.sum_over_inputs(squares).sqrt_();
}

at::Tensor merged_weight(const AdaptedLinear& m) {
  const at::Tensor sum = m.linear->weight.detach().to(ops::sum_dtype(m.linear->weight), false, /*copy=*/true);
  merge_into(sum, m);
  return sum;
}

void merge_into(at::Tensor weight, const AdaptedLinear& m) {
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = weight.scalar_type();
  at::Tensor lengths;  // before the weight changes: it may be the Linear's own
  if (m.magnitude.defined()) lengths = row_norms(*m.linear, m.a, m.b, m.scale);
  weight.addmm_(m.b.to(wide), m.a.to(wide), 1.0, m.scale);
  if (lengths.defined()) weight.mul_((m.magnitude.to(wide) / lengths).unsqueeze(1));
}

}  // namespace phalanx::lora
