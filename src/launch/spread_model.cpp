#include "launch/spread_model.h"

#include "model/parameter.h"
#include "parallel/parallel_options.h"
#include "trainer/options.h"
#include "trainer/training_run.h"

namespace phalanx::launch {
namespace {

parallel::MeshShape shape_for_answers(const core::Config& config) {
  parallel::MeshShape shape = config.get<parallel::ParallelOptions>().mesh_shape();
  shape.dp_shard *= shape.cp;
  shape.cp = 1;
  return shape;
}

parallel::DistributedOptions options_for_answers(const core::Config& config) {
  parallel::DistributedOptions options = parallel::distributed_options(
      config.get<parallel::ParallelOptions>(), /*mesh_invariant=*/false, parallel::Recompute::kNone);
  options.tensor.sequence_parallel = false;  // one token is not to be cut
  return options;
}

}  // namespace

SpreadModel::SpreadModel(const std::string& path, const core::Config& config, comm::Communicator& group)
    : dtype_(trainer::compute_dtype(config.get<trainer::TrainOptions>().precision)),
      source_(open_model(path, config)),
      mesh_(group, shape_for_answers(config)),
      distributed_(frozen_model(), mesh_, options_for_answers(config)) {
  model::load_weights(distributed_.model(), source_.files, dtype_);
  if (adapter_) adapter_->settle(distributed_.model());
  distributed_.take_weights(dtype_);
}

std::shared_ptr<model::CausalLm> SpreadModel::frozen_model() {
  model::check_model(source_.files);
  auto model = model::build(source_.files.config());
  if (source_.adapter) adapter_ = lora::load_adapter(*model, *source_.adapter, dtype_, /*trainable=*/false);
  for (auto& [name, parameter] : model::all_parameters(*model)) parameter.set_requires_grad(false);
  return model;
}

}  // namespace phalanx::launch
