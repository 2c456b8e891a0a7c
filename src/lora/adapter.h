#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "formats/peft.h"
#include "formats/tensor_file.h"
#include "lora/lora_options.h"
#include "lora/peft_layout.h"
#include "model/causal_lm.h"
#include "model/linear.h"
#include "model/save.h"

namespace phalanx::lora {

/// One adapted matrix (Hu et al. 2021): y = x W^T + scale (x A^T) B^T, W frozen; with a magnitude DoRA
/// (adapted_product.h).
struct AdaptedLinear {
  std::string module;  ///< "model.layers.0.self_attn.q_proj"
  std::string
      peft_module;  ///< that or the module of PEFT's that holds it with others: "...self_attn.qkv_proj"
  std::shared_ptr<model::Linear> linear;
  at::Tensor a;          ///< [r, in], the parameter "lora_A.weight" of the first matrix of its peft_module
  at::Tensor b;          ///< [out, r], "lora_B.weight"
  at::Tensor magnitude;  ///< [out], "lora_magnitude_vector"; undefined without DoRA
  double scale;
};

/// The adapter on a model: which matrices it changes, which modules it holds whole, and the switch that shows
/// the base model again.
class Adapter {
 public:
  /// The base model answers while this is off: the reference policy without a second model. @throws
  /// core::Error (kBadConfig) where modules are trained whole: there is no second copy of those.
  void set_enabled(bool enabled);
  bool enabled() const { return *enabled_; }
  /// Whether set_enabled(false) can show the base: not where modules of it are trained whole.
  bool keeps_base() const { return whole_.empty(); }
  const std::vector<AdaptedLinear>& modules() const { return modules_; }
  const formats::AdapterConfig& config() const { return config_; }
  /// What its file holds.
  const std::vector<PeftTensor>& tensors() const { return tensors_; }
  /// Where it was stored, by the names of the model's parameters; null: it is new.
  const std::shared_ptr<const formats::TensorFile>& stored() const { return weights_; }
  int64_t num_parameters() const;

  /// Whether this parameter of the base is the adapter's own.
  bool saves_whole(const std::string& name) const {
    return std::find(whole_.begin(), whole_.end(), name) != whole_.end();
  }

  /// To be called once the weights of the base are loaded, into a model that may be cut by then: a new DoRA
  /// magnitude becomes |W|, modules that are saved whole get the adapter's weights. Collective over ranks
  /// that hold parts of one matrix.
  void settle(model::CausalLm& model) const;

  /// The base's weights with the adapter merged in (merged_weight()), one matrix at a time.
  model::WeightSource merged(const model::CausalLm& model) const;
  /// The adapted matrix whose weight has this name; null if the adapter leaves that weight alone.
  const AdaptedLinear* find(const std::string& weight_name) const;

 private:
  friend class AdapterBuilder;
  friend Adapter attach_adapter(model::CausalLm& model, const struct AdapterFiles& files,
                                at::ScalarType dtype, bool trainable);
  std::shared_ptr<bool> enabled_ = std::make_shared<bool>(true);
  std::vector<AdaptedLinear> modules_;
  std::vector<PeftTensor> tensors_;
  std::vector<std::string> whole_;  // parameters of the base that are trained
  formats::AdapterConfig config_;
  at::ScalarType dtype_ = at::kFloat;
  std::shared_ptr<const formats::TensorFile>
      weights_;  // where it was stored, by parameter name; null: it is new
  std::string where_;
};

/// Puts a fresh adapter on every targeted matrix and freezes everything but it and the modules to save. A is
/// uniform in +-1/sqrt(in) (PEFT's kaiming uniform with a = sqrt(5)), B is zero, so that the model answers as
/// before; every number of A depends on (seed, tensor name, index) alone.
/// @param dtype  of the adapter. The compute dtype, or fp32 where the optimizer's masters are made from it.
/// @throws core::Error (kBadConfig) as config_of().
Adapter apply(model::CausalLm& model, const LoraOptions& options, uint64_t seed, at::ScalarType dtype);

/// What PEFT's adapter_config.json says of a fresh adapter. @throws as apply().
formats::AdapterConfig adapter_config(const model::CausalLm& model, const LoraOptions& options);

/// A stored adapter, opened but not read.
struct AdapterFiles {
  std::filesystem::path path;  ///< for messages
  formats::AdapterConfig config;
  std::shared_ptr<const formats::TensorFile> weights;
  bool has_peft_names = false;  ///< of the tensors; else they are the model's, as checkpoints have them
};

/// @param folder  with adapter_config.json and adapter_model.safetensors.
/// @throws core::Error (kBadInput) naming the file.
AdapterFiles open_adapter(const std::filesystem::path& folder);

/// Puts a stored adapter on the model. Every tensor of the file must belong to a targeted module, or to one
/// that is saved whole, and every such module must have all of its tensors; nothing is ignored.
/// Adapter::settle() follows when the base is loaded.
/// @param trainable  whether the adapter gets gradients (everything else never does).
/// @throws core::Error (kBadInput) naming the file and all tensors that do not fit, by their names in the
/// file.
Adapter load_adapter(model::CausalLm& model, const AdapterFiles& files, at::ScalarType dtype,
                     bool trainable = true);

/// The same without reading the factors: they have memory, but no values yet.
Adapter attach_adapter(model::CausalLm& model, const AdapterFiles& files, at::ScalarType dtype,
                       bool trainable = true);

/// Writes adapter_config.json and adapter_model.safetensors as PEFT reads them.
/// @param weights  where the adapter is taken from, by parameter name ("...q_proj.lora_A.weight"): the fp32
///                 masters of the optimizer, or model::weights_of(model).
void save_adapter(const std::filesystem::path& folder, const Adapter& adapter,
                  const model::WeightSource& weights, core::DType dtype, const std::string& base_model);

}  // namespace phalanx::lora
