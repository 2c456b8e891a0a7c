// kind: train. A run of training.
#include "checkpoint/checkpoint_options.h"
#include "launch/train.h"
#include "pipeline/pipeline_file.h"

namespace phalanx::launch {
namespace {

struct TrainStage {};

void check_train(const pipeline::Stage& stage, std::vector<core::Problem>& problems) {
  if (!stage.config.get<checkpoint::CheckpointOptions>().save_final)
    problems.push_back(
        {stage.position("checkpoint.save_final"),
         "checkpoint.save_final is false, but the final model is a stage's result; remove it"});
}

pipeline::StageKind train_kind() {
  pipeline::StageKind kind = pipeline::make_kind<TrainStage>(
      "train", "A run of training; its result is the model or adapter.", [](auto&) {});
  kind.result = [](const pipeline::Stage& stage) {
    return pipeline::Result{"final",
                            stage.config.has("lora") ? core::PathOf::kAdapter : core::PathOf::kModel};
  };
  kind.check = check_train;
  kind.resumes = true;
  kind.run = [](const pipeline::Stage& stage) { return train_as(stage.config); };
  return kind;
}

[[maybe_unused]] const bool train_kind_registered = pipeline::register_stage_kind(train_kind);

}  // namespace
}  // namespace phalanx::launch
