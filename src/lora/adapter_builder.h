#pragma once
#include "lora/adapter.h"

namespace phalanx::lora {

/// Attaches factors to the Linears of a model, one by one; used by apply() and load_adapter().
class AdapterBuilder {
 public:
  /// Freezes every parameter that the model has now. @throws core::Error if the model carries an adapter
  /// already.
  AdapterBuilder(model::CausalLm& model, formats::AdapterConfig config, at::ScalarType dtype);

  /// Registers lora_A [r, in] and lora_B [out, r] under `linear`, not initialised, and installs the adapted
  /// product.
  const AdaptedLinear& add(const std::string& module, const std::shared_ptr<model::Linear>& linear, int64_t r,
                           double scale, bool trainable);
  Adapter finish() { return std::move(adapter_); }

 private:
  Adapter adapter_;
  at::ScalarType dtype_;
};

}  // namespace phalanx::lora
