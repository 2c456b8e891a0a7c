#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "formats/peft.h"
#include "formats/tensor_file.h"
#include "lora/lora_options.h"
#include "model/causal_lm.h"
#include "model/linear.h"
#include "model/save.h"

namespace phalanx::lora {

/// One adapted matrix (Hu et al. 2021): y = x W^T + scale (x A^T) B^T, W frozen.
struct AdaptedLinear {
  std::string module;  ///< "model.layers.0.self_attn.q_proj"
  std::shared_ptr<model::Linear> linear;
  at::Tensor a;  ///< [r, in], the module's parameter "lora_A.weight"
  at::Tensor b;  ///< [out, r], "lora_B.weight"
  double scale;
};

/// The adapter on a model: which matrices it changes, and the switch that shows the base model again.
class Adapter {
 public:
  /// The base model answers while this is off: the reference policy without a second model.
  void set_enabled(bool enabled) { *enabled_ = enabled; }
  bool enabled() const { return *enabled_; }
  const std::vector<AdaptedLinear>& modules() const { return modules_; }
  const formats::AdapterConfig& config() const { return config_; }
  int64_t num_parameters() const;

  /// The base's weights with the adapter merged in: W + scale B A, formed in fp32 (fp64 for fp64), one matrix
  /// at a time.
  model::WeightSource merged(const model::CausalLm& model) const;
  /// The adapted matrix whose weight has this name; null if the adapter leaves that weight alone.
  const AdaptedLinear* find(const std::string& weight_name) const;

 private:
  friend class AdapterBuilder;
  std::shared_ptr<bool> enabled_ = std::make_shared<bool>(true);
  std::vector<AdaptedLinear> modules_;
  formats::AdapterConfig config_;
};

/// Puts a fresh adapter on every targeted matrix and freezes everything else. A is uniform in +-1/sqrt(in)
/// (PEFT's kaiming uniform with a = sqrt(5)), B is zero, so that the model answers as before; every number of
/// A depends on (seed, tensor name, index) alone.
/// @param dtype  of A and B. The compute dtype, or fp32 where the optimizer's masters are made from them.
/// @throws core::Error (kBadConfig) if a target names no module (the linear modules are listed), or r is too
/// large.
Adapter apply(model::CausalLm& model, const LoraOptions& options, uint64_t seed, at::ScalarType dtype);

/// What PEFT's adapter_config.json says of a fresh adapter. @throws as apply().
formats::AdapterConfig adapter_config(const model::CausalLm& model, const LoraOptions& options);

/// A stored adapter, opened but not read.
struct AdapterFiles {
  std::filesystem::path path;  ///< for messages
  formats::AdapterConfig config;
  std::shared_ptr<const formats::TensorFile> weights;  ///< by parameter name: "...q_proj.lora_A.weight"
};

/// @param folder  with adapter_config.json and adapter_model.safetensors.
/// @throws core::Error (kBadInput) naming the file.
AdapterFiles open_adapter(const std::filesystem::path& folder);

/// Puts a stored adapter on the model. Every tensor of the file must belong to a targeted module and every
/// targeted module must have both tensors; nothing is ignored.
/// @param trainable  whether A and B get gradients (everything else never does).
/// @throws core::Error (kBadInput) naming the file and all that does not fit.
Adapter load_adapter(model::CausalLm& model, const AdapterFiles& files, at::ScalarType dtype,
                     bool trainable = true);

/// The same without reading the factors: they have memory, but no values yet.
Adapter attach_adapter(model::CausalLm& model, const AdapterFiles& files, at::ScalarType dtype,
                       bool trainable = true);

/// weight <- weight + scale B A, in place: one product for all rows.
void merge_into(at::Tensor weight, const AdaptedLinear& adapted);

/// Writes adapter_config.json and adapter_model.safetensors as PEFT reads them.
/// @param weights  where A and B are taken from, by parameter name ("...q_proj.lora_A.weight"): the fp32
/// masters of the
///                 optimizer, or model::weights_of(model).
void save_adapter(const std::filesystem::path& folder, const Adapter& adapter,
                  const model::WeightSource& weights, core::DType dtype, const std::string& base_model);

}  // namespace phalanx::lora
