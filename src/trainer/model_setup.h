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

  const model::TransformerConfig& config() const { return described_.config; }
  /// The same files for a model that scores with one label: their score, or a new one.
  ModelSetup as_scoring() const;
  void check() const;  ///< names, shapes and types of all tensors, without reading one
  /// The model without weights, to be adapted and cut.
  std::shared_ptr<model::CausalLm> build() const;
  /// Reads or makes the weights of every parameter that has no memory yet. New ones depend on `seed` alone;
  /// so does a score that the files do not have.
  void fill(model::CausalLm& model, at::ScalarType dtype, uint64_t seed) const;
  /// The whole model on this rank.
  std::shared_ptr<model::CausalLm> load(at::ScalarType dtype, uint64_t seed) const;

 private:
  void check_output(const core::Config& config);
  void make_scoring(int64_t num_labels, bool labels_tokens);

  generate::ModelDescription described_;
  std::string dtype_;
};

/// @throws core::ConfigErrors with everything about `parallel` that does not fit this model, before anything
/// is allocated.
void check_mesh(const core::Config& config, const model::TransformerConfig& model);

/// The model that trains: under an adapter, or all of it.
struct TrainedModel {
  std::shared_ptr<model::CausalLm> model;
  std::optional<lora::Adapter> adapter;
};

/// Without weights, but for the adapter's, which are in the master dtype of `compute`.
TrainedModel build_trained_model(const core::Config& config, const ModelSetup& setup, at::ScalarType compute);
/// The same with the modules that method.name trains beside the model's own (MethodKind::extend).
TrainedModel build_extended_model(const core::Config& config, const ModelSetup& setup,
                                  at::ScalarType compute);
/// Reads or makes the weights of what build_trained_model() made, cut or not. Collective over ranks that hold
/// parts of one matrix.
void fill_trained_model(const TrainedModel& trained, const ModelSetup& setup, at::ScalarType compute,
                        uint64_t seed);
/// The dtype in which the base is to be filled: the master dtype where it is trained, `compute` under an
/// adapter.
at::ScalarType filled_dtype(const TrainedModel& trained, at::ScalarType compute);

}  // namespace phalanx::trainer
