#pragma once
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/mesh.h"
#include "parallel/pipeline_plan.h"
#include "parallel/schedule.h"
#include "parallel/tensor_parallel.h"

namespace phalanx::parallel {

struct PipelineOptions {
  PipelineScheduleKind kind = PipelineScheduleKind::k1F1B;
  int64_t chunks_per_rank = 1;
};

/// The layers of a stage, at least one: boundaries fall where the products of a forward are shared out
/// evenly. A layer costs its matrices (the experts that a token visits), the last stage has the head's V h as
/// well, the first one the embedding, which costs nothing.
model::LayerRange layers_of_stage(int64_t stage, int64_t num_stages, const model::TransformerConfig& config);

/// Takes the layers of other stages out of the model. A tied embedding stays on the first and on the last
/// stage, which add their gradients at the end of each step. Call before weights are read; collective over
/// mesh.pp().
void apply_pipeline(model::CausalLm& model, const Mesh& mesh, const PipelineOptions& options, Traits& traits,
                    std::vector<std::unique_ptr<comm::Communicator>>& groups);

/// Runs a plan (pipeline_plan.h) over mesh.pp(). Between stages goes the sum of the residual stream [N, h] of
/// one micro-step (with sequence parallelism this rank's rows), and its gradient comes back: sent without
/// waiting, received when it is needed. Behind it, where the model has them, the router sums of the layers so
/// far: the last stage has those of all.
class PipelineSchedule : public Schedule {
 public:
  PipelineSchedule(model::CausalLm& model, const Mesh& mesh, const PipelineOptions& options,
                   bool sequence_parallel);
  std::vector<double> forward_backward(const StepWork& work, GradSync& grad_sync) override;
  model::LayersOutput forward(const model::ModelInput& input, model::KvCache* cache = nullptr) override;

 private:
  class Run;
  struct Sent {
    at::Tensor tensor;
    std::unique_ptr<comm::Work> work;
  };

  const PipelinePlan& plan(int64_t num_micro_steps);
  // Values or gradients of what stands between two stages.
  model::LayersOutput receive(const PipelineMessage& message, const PipelinePlan& plan, int64_t num_tokens);
  void send(const PipelineMessage& message, const PipelinePlan& plan, const model::LayersOutput& values);
  void wait_for_sends();
  model::LayerRange range_of(int64_t stage, const PipelinePlan& plan) const;

  model::CausalLm& model_;
  const Mesh& mesh_;
  PipelineOptions options_;
  bool sequence_parallel_;
  at::TensorOptions stream_options_;
  std::map<int64_t, PipelinePlan> plans_;  // by number of micro-steps
  std::deque<Sent> sent_;
  std::map<std::pair<PipelinePayload, std::pair<int64_t, int64_t>>, model::LayersOutput>
      handed_over_;  // between own stages
};

}  // namespace phalanx::parallel
