#include "lora/adapter_builder.h"

#include <ATen/Functions.h>

#include "core/error.h"
#include "model/few_rows.h"
#include "ops/linear.h"

namespace phalanx::lora {
namespace {

/// Holds one factor under the name that PEFT gives it.
class Factor : public model::Module {
 public:
  Factor(int64_t rows, int64_t columns, const at::TensorOptions& options, bool trainable) {
    weight = register_parameter("weight", at::empty({rows, columns}, options), trainable);
  }
  at::Tensor weight;
};

at::Tensor adapted(const model::Linear& linear, const at::Tensor& a, const at::Tensor& b, double scale,
                   const at::Tensor& x) {
  if (model::few_rows_applies(x, linear.weight)) {  // decoding
    at::Tensor y = model::few_rows_linear(x, linear.weight, linear.bias, at::kFloat);
    const at::Tensor xa = model::few_rows_linear(x, a, {}, x.scalar_type());
    return y.add_(model::few_rows_linear(xa, b, {}, at::kFloat), scale).to(x.scalar_type());
  }
  const at::Tensor y = ops::lora_linear(x, linear.weight, a, b, scale);
  return linear.bias.defined() ? y + linear.bias : y;
}

}  // namespace

AdapterBuilder::AdapterBuilder(model::CausalLm& model, formats::AdapterConfig config, at::ScalarType dtype)
    : dtype_(dtype) {
  for (auto& [name, parameter] : model.named_parameters()) {
    if (name.find(".lora_A.") != std::string::npos) {
      core::fail(core::ExitCode::kBug,
                 "the model carries an adapter already; merge it before adding another");
    }
    parameter.set_requires_grad(false);
  }
  adapter_.config_ = std::move(config);
}

const AdaptedLinear& AdapterBuilder::add(const std::string& module,
                                         const std::shared_ptr<model::Linear>& linear, int64_t r,
                                         double scale, bool trainable) {
  const int64_t out = linear->weight.size(0), in = linear->weight.size(1);
  const at::TensorOptions options = at::TensorOptions().dtype(dtype_).device(linear->weight.device());
  const at::Tensor a =
      linear->register_module("lora_A", std::make_shared<Factor>(r, in, options, trainable))->weight;
  const at::Tensor b =
      linear->register_module("lora_B", std::make_shared<Factor>(out, r, options, trainable))->weight;
  linear->set_product(
      [a, b, scale, enabled = adapter_.enabled_](const model::Linear& self, const at::Tensor& x) {
        return *enabled ? adapted(self, a, b, scale, x) : self.base(x);
      });
  adapter_.modules_.push_back({.module = module, .linear = linear, .a = a, .b = b, .scale = scale});
  return adapter_.modules_.back();
}

}  // namespace phalanx::lora
