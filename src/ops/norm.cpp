#include "ops/norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/cpu/dispatch.h"
#include "ops/cpu/kernels.h"
#include "ops/grad_sink.h"
#include "ops/recomputed.h"
#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRowBlock =
    64;  // rows whose weight gradient is summed together; fixed, so threads change no bits

struct Normalised {
  at::Tensor y, h, inverse_rms;  // h = x + residual, or x itself
};

Normalised normalise_on_cpu(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                            double eps) {
  const int64_t rows = x.size(0), n = x.size(1);
  Normalised out{at::empty(x.sizes(), x.options()),
                 residual.defined() ? at::empty(x.sizes(), x.options()) : x,
                 at::empty({rows, 1}, x.options().dtype(at::kFloat))};
  cpu::visit(x, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, rows, kRowBlock, [&](int64_t begin, int64_t end) {
      const int64_t at = begin * n;
      const T* added = residual.defined() ? cpu::data<T>(residual) + at : nullptr;
      T* sum = residual.defined() ? cpu::data<T>(out.h) + at : nullptr;
      cpu::row_kernels<T>().rms_norm(cpu::data<T>(x) + at, added, cpu::data<T>(weight),
                                     static_cast<float>(eps), cpu::data<T>(out.y) + at, sum,
                                     cpu::data<float>(out.inverse_rms) + begin, end - begin, n);
    });
  });
  return out;
}

/// What the normalised rows are multiplied by: weight + offset.
struct Factor {
  at::Tensor weight;
  double offset = 0;
  // [h]; with an offset wide, where bf16 would lose a weight beside a 1.
  at::Tensor value() const { return offset == 0 ? weight : weight.to(sum_dtype(weight)) + offset; }
};

// The kernels read the factor in the dtype of the rows.
bool kernels_take(const at::Tensor& x, const at::Tensor& factor) {
  return cpu::has_kernels(x) && factor.scalar_type() == x.scalar_type();
}

Normalised normalise(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, double eps) {
  if (kernels_take(x, weight)) return normalise_on_cpu(x, residual, weight, eps);
  const at::Tensor h = residual.defined() ? x + residual : x, wide = h.to(sum_dtype(h));
  const at::Tensor inverse_rms = wide.square().mean(1, true).add_(eps).rsqrt_();  // [N, 1]
  return {(wide * inverse_rms * weight.to(wide.scalar_type())).to(h.scalar_type()), h, inverse_rms};
}

// The sum is kept for the backward anyway; its norm is a cheap pass over it.
void remember(const Normalised& out, const Factor& factor, double eps) {
  set_recipe(out.y, {out.h, factor.weight}, [eps, offset = factor.offset](const variable_list& made_of) {
    return normalise(made_of[0], {}, Factor{made_of[1], offset}.value(), eps).y;
  });
}

struct NormGradients {
  at::Tensor dx, dw;  // dw in fp32 or fp64
};

NormGradients gradients_on_cpu(const at::Tensor& dy, const at::Tensor& h, const at::Tensor& weight,
                               const at::Tensor& r, const at::Tensor& extra, bool want_weight) {
  const int64_t rows = h.size(0), n = h.size(1), blocks = (rows + kRowBlock - 1) / kRowBlock;
  at::Tensor dx = at::empty(h.sizes(), h.options()), partial;
  if (want_weight) partial = at::zeros({blocks, n}, h.options().dtype(at::kFloat));
  cpu::visit(h, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block) {
        const int64_t begin = block * kRowBlock, count = std::min(kRowBlock, rows - begin), at = begin * n;
        cpu::row_kernels<T>().rms_norm_backward(
            cpu::data<T>(dy) + at, cpu::data<T>(h) + at, cpu::data<T>(weight), cpu::data<float>(r) + begin,
            extra.defined() ? cpu::data<T>(extra) + at : nullptr, cpu::data<T>(dx) + at,
            want_weight ? cpu::data<float>(partial) + block * n : nullptr, count, n);
      }
    });
  });
  return {dx, want_weight ? partial.sum(0) : at::Tensor()};
}

// dh = r (w dy - h r^2 mean(w dy h)) + extra; dw = sum over rows of dy h r
NormGradients norm_gradients(const at::Tensor& dy, const at::Tensor& h, const at::Tensor& weight,
                             const at::Tensor& r, const at::Tensor& extra, bool want_weight) {
  if (kernels_take(h, weight)) {
    return gradients_on_cpu(dy.contiguous(), h, weight, r, extra.defined() ? extra.contiguous() : extra,
                            want_weight);
  }
  const at::Tensor wide = h.to(sum_dtype(h)), g = dy.to(wide.scalar_type());
  const at::Tensor wg = g * weight.to(wide.scalar_type());
  at::Tensor dx = r * (wg - wide * (r * r * (wg * wide).mean(1, true)));
  if (extra.defined()) dx = dx + extra;
  return {dx.to(h.scalar_type()), want_weight ? (g * wide * r).sum(0) : at::Tensor()};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, double eps,
                            double offset) {
    const Factor factor{weight, offset};
    const Normalised out = normalise(x, {}, factor.value(), eps);
    ctx->save_for_backward({x, weight, out.inverse_rms});
    ctx->saved_data["offset"] = offset;
    remember(out, factor, eps);
    return out.y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const bool want_weight = ctx->needs_input_grad(1);
    const at::Tensor factor = Factor{saved[1], ctx->saved_data["offset"].toDouble()}.value();
    const NormGradients g = norm_gradients(grads[0], saved[0], factor, saved[2], {}, want_weight);
    return {g.dx, want_weight ? deliver_gradient(saved[1], g.dw) : at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& residual,
                               const at::Tensor& weight, double eps, double offset) {
    const Factor factor{weight, offset};
    const Normalised out = normalise(x, residual, factor.value(), eps);
    ctx->save_for_backward({out.h, weight, out.inverse_rms});
    ctx->saved_data["offset"] = offset;
    remember(out, factor, eps);
    return {out.y, out.h};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const bool want_weight = ctx->needs_input_grad(2);
    const at::Tensor dy = grads[0].defined() ? grads[0] : at::zeros_like(saved[0]);
    const at::Tensor factor = Factor{saved[1], ctx->saved_data["offset"].toDouble()}.value();
    const NormGradients g = norm_gradients(dy, saved[0], factor, saved[2], grads[1], want_weight);
    return {g.dx, g.dx, want_weight ? deliver_gradient(saved[1], g.dw) : at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

struct LayerNorm : torch::autograd::Function<LayerNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, double eps) {
    const auto [y, mean, inverse_std] = at::native_layer_norm(x, {x.size(1)}, weight, bias, eps);
    ctx->save_for_backward({x, weight, bias, mean, inverse_std});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2];
    const bool want_weight = ctx->needs_input_grad(1), want_bias = ctx->needs_input_grad(2);
    const auto [dx, dw, db] =
        at::native_layer_norm_backward(grads[0].contiguous(), x, {x.size(1)}, saved[3], saved[4], weight,
                                       bias, {ctx->needs_input_grad(0), want_weight, want_bias});
    return {dx, want_weight ? deliver_gradient(weight, dw) : at::Tensor(),
            want_bias ? deliver_gradient(bias, db) : at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset) {
  if (!at::GradMode::is_enabled())
    return normalise(x.contiguous(), {}, Factor{weight, offset}.value(), eps).y;
  expect_gradient(weight);
  return RmsNorm::apply(x.contiguous(), weight, eps, offset);
}

std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& residual,
                                               const at::Tensor& weight, double eps, double offset) {
  if (!at::GradMode::is_enabled()) {
    const Normalised out =
        normalise(x.contiguous(), residual.contiguous(), Factor{weight, offset}.value(), eps);
    return {out.y, out.h};
  }
  expect_gradient(weight);
  const variable_list out = AddRmsNorm::apply(x.contiguous(), residual.contiguous(), weight, eps, offset);
  return {out[0], out[1]};
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  expect_gradient(weight);
  expect_gradient(bias);
  return LayerNorm::apply(x.contiguous(), weight, bias, eps);
}

}  // namespace phalanx::ops
