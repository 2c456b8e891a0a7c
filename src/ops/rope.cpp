#include "ops/rope.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/cpu/dispatch.h"
#include "ops/cpu/kernels.h"
#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor rotate_on_cpu(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                         double direction) {
  const int64_t heads = x.size(1), d = x.size(2), half = d / 2;
  at::Tensor y = at::empty(x.sizes(), x.options());
  cpu::visit(x, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, x.size(0), 32, [&](int64_t begin, int64_t end) {
      cpu::row_kernels<T>().rope(cpu::data<T>(x) + begin * heads * d, cpu::data<float>(cos) + begin * half,
                                 cpu::data<float>(sin) + begin * half, static_cast<float>(direction),
                                 cpu::data<T>(y) + begin * heads * d, end - begin, heads, d);
    });
  });
  return y;
}

// (a, b) -> (a cos - b sin, b cos + a sin); direction -1 turns back.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, double direction) {
  if (cpu::has_kernels(x) && cos.scalar_type() == at::kFloat)
    return rotate_on_cpu(x.contiguous(), cos, sin, direction);
  const int64_t half = x.size(2) / 2;
  const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1) * direction;  // [N, 1, d/2]
  const at::Tensor a = x.narrow(2, 0, half).to(cos.scalar_type()),
                   b = x.narrow(2, half, half).to(cos.scalar_type());
  return at::cat({a * c - b * s, b * c + a * s}, 2).to(x.scalar_type());
}

struct Rope : torch::autograd::Function<Rope> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return rotate(x, cos, sin, 1.0);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    return {rotate(grads[0], saved[0], saved[1], -1.0), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  if (!at::GradMode::is_enabled()) return rotate(x, cos.contiguous(), sin.contiguous(), 1.0);
  return Rope::apply(x, cos.contiguous(), sin.contiguous());
}

std::pair<at::Tensor, at::Tensor> rope_rows(const at::Tensor& position_ids,
                                            const at::Tensor& inverse_frequencies, at::ScalarType dtype,
                                            double factor) {
  const at::Tensor angles =
      at::outer(position_ids.to(at::kFloat), inverse_frequencies.to(at::kFloat));  // [N, d/2]
  const at::ScalarType type = sum_dtype(dtype);
  at::Tensor cos = angles.cos(), sin = angles.sin();
  if (factor != 1) {
    cos.mul_(factor);
    sin.mul_(factor);
  }
  return {cos.to(type), sin.to(type)};
}

}  // namespace phalanx::ops
