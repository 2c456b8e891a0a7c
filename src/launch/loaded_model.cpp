#include "launch/loaded_model.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "core/run_options.h"
#include "model/model_options.h"
#include "model/save.h"
#include "trainer/options.h"
#include "trainer/training_run.h"

namespace phalanx::launch {

model::WeightSource LoadedModel::weights() const {
  return adapter ? adapter->merged(*model) : model::weights_of(*model);
}

generate::ModelSource open_model(const std::string& path, const core::Config& config) {
  const auto& options = config.get<model::ModelOptions>();
  return generate::open_model(path, {options.path, options.tokenizer, options.chat_template});
}

LoadedModel load_model(const std::string& path, const core::Config& config) {
  return load_model(path, config, trainer::compute_dtype(config.get<trainer::TrainOptions>().precision));
}

LoadedModel load_model(const std::string& path, const core::Config& config, at::ScalarType dtype) {
  LoadedModel loaded{open_model(path, config), nullptr, std::nullopt};
  loaded.model = model::load_model(loaded.source.files, dtype);
  if (loaded.source.adapter) {
    loaded.adapter = lora::load_adapter(*loaded.model, *loaded.source.adapter, dtype, /*trainable=*/false);
    loaded.adapter->settle(*loaded.model);
  }
  return loaded;
}

void set_threads(const core::Config& config, int local_ranks) {
  const auto& run = config.get<core::RunOptions>();
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int fixed = run.determinism == "mesh_invariant" ? 1 : std::max(1, cores / local_ranks);
  at::set_num_threads(static_cast<int>(run.threads.value_or(fixed)));
}

}  // namespace phalanx::launch
