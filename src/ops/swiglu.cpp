#include "ops/swiglu.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ops/cpu/dispatch.h"
#include "ops/cpu/kernels.h"
#include "ops/recomputed.h"
#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 1 << 14;  // elements per thread at least; a multiple of every vector

at::Tensor product_on_cpu(const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor y = at::empty(gate.sizes(), gate.options());
  cpu::visit(gate, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
      cpu::row_kernels<T>().swiglu(cpu::data<T>(gate) + begin, cpu::data<T>(up) + begin,
                                   cpu::data<T>(y) + begin, end - begin);
    });
  });
  return y;
}

at::Tensor product(const at::Tensor& gate, const at::Tensor& up) {
  if (cpu::has_kernels(gate)) return product_on_cpu(gate, up);
  const at::ScalarType wide = sum_dtype(gate);
  return (at::silu(gate.to(wide)) * up.to(wide)).to(gate.scalar_type());
}

variable_list gradients_on_cpu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& dy) {
  at::Tensor dgate = at::empty(gate.sizes(), gate.options()), dup = at::empty(up.sizes(), up.options());
  cpu::visit(gate, [&](auto zero) {
    using T = decltype(zero);
    at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
      cpu::row_kernels<T>().swiglu_backward(cpu::data<T>(gate) + begin, cpu::data<T>(up) + begin,
                                            cpu::data<T>(dy) + begin, cpu::data<T>(dgate) + begin,
                                            cpu::data<T>(dup) + begin, end - begin);
    });
  });
  return {dgate, dup};
}

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    const at::Tensor y = product(gate, up);
    set_recipe(y, {gate, up}, [](const variable_list& made_of) { return product(made_of[0], made_of[1]); });
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    if (cpu::has_kernels(saved[0])) return gradients_on_cpu(saved[0], saved[1], grads[0].contiguous());
    const at::ScalarType type = saved[0].scalar_type(), wide = sum_dtype(type);
    const at::Tensor g = saved[0].to(wide), u = saved[1].to(wide), dy = grads[0].to(wide);
    const at::Tensor s = at::sigmoid(g);
    return {(dy * u * s * (1 + g * (1 - s))).to(type), (dy * g * s).to(type)};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (!at::GradMode::is_enabled()) return product(gate.contiguous(), up.contiguous());
  return SwiGlu::apply(gate.contiguous(), up.contiguous());
}

}  // namespace phalanx::ops
