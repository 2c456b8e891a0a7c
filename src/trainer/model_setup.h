#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/dtype.h"
#include "generate/open_model.h"
#include "lora/adapter.h"
#include "model/causal_lm.h"

namespace phalanx::trainer {

/// What the section `model` describes: weights in files (`path`) or the sizes of a new model (`family`), with
/// the tokenizer and the chat template that go with it. Opens and checks headers; weights are read by load().
class ModelSetup {
 public:
  /// @throws core::Error (65) for a file that cannot be read, (78) for keys that do not fit together.
  explicit ModelSetup(const core::Config& config);

  const data::Tokenizer& tokenizer() const { return *described_.tokenizer; }
  const std::string& chat_template() const { return described_.chat_template; }
  std::vector<std::string> notices() const;  ///< for the start-up report
  std::string name() const;                  ///< absolute path of the weights, or the family
  core::DType saved_dtype() const;           ///< element type of saved weights: model.dtype, `auto` resolved

  void check() const;  ///< names, shapes and types of all tensors, without reading one
  /// New weights depend on `seed` alone.
  std::shared_ptr<model::CausalLm> load(at::ScalarType dtype, uint64_t seed) const;

 private:
  generate::ModelDescription described_;
  std::string dtype_;
};

/// The model that trains: base weights in the compute dtype under an adapter, or all weights. Trainable ones
/// in the master dtype.
struct TrainedModel {
  std::shared_ptr<model::CausalLm> model;
  std::optional<lora::Adapter> adapter;
};

TrainedModel load_trained_model(const core::Config& config, const ModelSetup& setup, at::ScalarType compute);

}  // namespace phalanx::trainer
