#include "parallel/stream_ops.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>

#include "ops/training_forward.h"

namespace phalanx::parallel {
namespace {

using model::Stream;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Functions that a graph has to remember.
template <class Signature>
struct Kept : torch::CustomClassHolder {
  explicit Kept(std::function<Signature> f) : function(std::move(f)) {}
  std::function<Signature> function;
};
template <class Signature>
void keep(AutogradContext* ctx, std::function<Signature> function) {
  ctx->saved_data["function"] =
      c10::IValue::make_capsule(c10::make_intrusive<Kept<Signature>>(std::move(function)));
}
template <class Signature>
const std::function<Signature>& kept(AutogradContext* ctx) {
  const auto capsule = ctx->saved_data["function"].toCapsule();
  return static_cast<Kept<Signature>*>(capsule.get())->function;
}

// autograd looks for tensors among the arguments themselves, not in lists; an undefined one goes as an empty
// optional.
std::optional<at::Tensor> optional_of(const at::Tensor& tensor) {
  return tensor.defined() ? std::make_optional(tensor) : std::nullopt;
}
// Its tensors up to the first undefined one; behind it there is none.
variable_list defined_of(const Stream& stream) {
  variable_list tensors = {stream.residual};
  for (const at::Tensor& tensor : {stream.update, stream.router_sums}) {
    if (tensor.defined()) tensors.push_back(tensor);
  }
  TORCH_INTERNAL_ASSERT(stream.update.defined() || !stream.router_sums.defined());
  return tensors;
}
Stream stream_of(const variable_list& tensors) {
  const auto at = [&](size_t i) { return i < tensors.size() ? tensors[i] : at::Tensor(); };
  return {.residual = at(0), .update = at(1), .router_sums = at(2)};
}
// Gradients of (residual, update, router_sums, function).
variable_list padded(variable_list gradients) {
  gradients.resize(4);
  return gradients;
}

struct OnBackward : torch::autograd::Function<OnBackward> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& residual,
                               const std::optional<at::Tensor>& update,
                               const std::optional<at::Tensor>& router_sums, std::function<void()> action) {
    keep(ctx, std::move(action));
    variable_list same;
    for (const at::Tensor& tensor :
         defined_of({residual, update.value_or(at::Tensor()), router_sums.value_or(at::Tensor())}))
      same.push_back(tensor.view_as(tensor));
    return same;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    kept<void()>(ctx)();
    return padded(grads);
  }
};

struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& residual,
                               const std::optional<at::Tensor>& update,
                               const std::optional<at::Tensor>& router_sums, const model::LayerBody& body) {
    const Stream stream{residual, update.value_or(at::Tensor()), router_sums.value_or(at::Tensor())};
    ctx->save_for_backward(defined_of(stream));
    keep<Stream(const Stream&)>(ctx, body);
    const at::NoGradGuard no_grad;
    const ops::TrainingForward same_kernels;
    return defined_of(body(stream));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list inputs;
    for (const at::Tensor& saved : ctx->get_saved_variables()) {
      inputs.push_back(saved.detach());
      inputs.back().set_requires_grad(true);
    }
    const at::AutoGradMode with_grad(true);
    const variable_list outputs = defined_of(kept<Stream(const Stream&)>(ctx)(stream_of(inputs)));
    torch::autograd::backward(outputs, grads);
    variable_list out;
    for (const at::Tensor& input : inputs) out.push_back(input.grad());
    return padded(std::move(out));
  }
};

}  // namespace

Stream on_backward(const Stream& stream, std::function<void()> action) {
  if (!c10::GradMode::is_enabled()) return stream;
  return stream_of(OnBackward::apply(stream.residual, optional_of(stream.update),
                                     optional_of(stream.router_sums), std::move(action)));
}

at::Tensor on_backward(const at::Tensor& tensor, std::function<void()> action) {
  return on_backward(Stream{.residual = tensor, .update = {}}, std::move(action)).residual;
}

Stream recomputed(const Stream& stream, const model::LayerBody& body) {
  if (!c10::GradMode::is_enabled()) return body(stream);
  return stream_of(
      Recomputed::apply(stream.residual, optional_of(stream.update), optional_of(stream.router_sums), body));
}

}  // namespace phalanx::parallel
