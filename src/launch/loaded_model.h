#pragma once
#include <memory>
#include <optional>
#include <string>

#include "core/config.h"
#include "generate/open_model.h"
#include "lora/adapter.h"
#include "model/causal_lm.h"

namespace phalanx::launch {

/// A model that a command works with: weights in the compute dtype, its adapter on top, tokenizer and
/// template.
struct LoadedModel {
  generate::ModelSource source;
  std::shared_ptr<model::CausalLm> model;
  std::optional<lora::Adapter> adapter;

  const data::Tokenizer& tokenizer() const { return *source.tokenizer; }
  /// Its weights by Hugging Face's names, an adapter merged in.
  model::WeightSource weights() const;
};

/// Opens PATH (see generate::open_model) with what --set says of `model`.
generate::ModelSource open_model(const std::string& path, const core::Config& config);
LoadedModel load_model(const std::string& path, const core::Config& config);  // in train.precision
LoadedModel load_model(const std::string& path, const core::Config& config, at::ScalarType dtype);

/// Threads for a command of one process: run.threads, or all cores.
void set_threads(const core::Config& config, int local_ranks = 1);

}  // namespace phalanx::launch
