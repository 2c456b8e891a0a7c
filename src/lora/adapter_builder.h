#pragma once
#include "lora/adapter.h"
#include "lora/peft_layout.h"

namespace phalanx::lora {

/// Attaches factors to the matrices of a model, one by one; used by apply() and load_adapter().
class AdapterBuilder {
 public:
  /// Freezes every parameter that the model has now, but those in modules that `config` saves whole.
  /// @param trainable  whether what the adapter holds gets gradients.
  /// @throws core::Error if the model carries an adapter already.
  AdapterBuilder(model::CausalLm& model, formats::AdapterConfig config, at::ScalarType dtype, bool trainable);

  /// Registers A, B and, with DoRA, the magnitude under the module's Linears, A and B not initialised, and
  /// installs the adapted products. Rank and scale are the configuration's.
  void add(const PeftModule& module);
  Adapter finish() { return std::move(adapter_); }

 private:
  at::TensorOptions options_of(const model::Linear& linear) const;
  at::Tensor add_magnitude(model::Linear& linear) const;
  void add_tensor(const PeftModule& module, formats::LoraPart part, std::vector<int64_t> shape);

  Adapter adapter_;
  at::ScalarType dtype_;
  bool trainable_;
};

}  // namespace phalanx::lora
