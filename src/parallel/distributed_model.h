#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/causal_lm.h"
#include "model/save.h"
#include "parallel/context_parallel.h"
#include "parallel/flat_parameters.h"
#include "parallel/grad_sync.h"
#include "parallel/mesh.h"
#include "parallel/pipeline.h"
#include "parallel/schedule.h"
#include "parallel/sharded_weights.h"
#include "parallel/tensor_parallel.h"

namespace phalanx::parallel {

/// What a backward computes again to save memory: nothing, norms and SwiGLU products, or whole layers.
enum class Recompute { kNone, kSelective, kFull };
Recompute parse_recompute(const std::string& name);

struct DistributedOptions {
  int64_t zero_stage = 0;
  int64_t bucket_bytes = 32 << 20;  ///< of gradients per message, at least
  bool mesh_invariant = false;
  Recompute recompute = Recompute::kSelective;
  TensorParallelOptions tensor = {};
  PipelineOptions pipeline = {};
  ContextKind context = ContextKind::kRing;
  bool masters_on_host = false;  ///< FlatOptions
};

/// Everything that is wrong with this mesh and these options for this model, one sentence each with the valid
/// choices.
std::vector<std::string> why_not(const model::TransformerConfig& config, const MeshShape& shape,
                                 const DistributedOptions& options);

/// A model as this rank runs it: the schemes applied from outside, in one visible order. Two steps, so that a
/// rank reads only its own weights (those that need no gradient are frozen; without any other, the model can
/// only answer):
///
///     DistributedModel distributed(model, mesh, options);   // an unallocated model, adapters on it: cut
///     model::load_weights(*model, ...);
///     distributed.take_weights(compute_dtype);              // flat buffers, gradient reduction, schedule
class DistributedModel {
 public:
  /// `mesh` must outlive it. Collective. @throws core::Error (78) with all of why_not().
  DistributedModel(std::shared_ptr<model::CausalLm> model, const Mesh& mesh,
                   const DistributedOptions& options);
  void take_weights(at::ScalarType compute_dtype);

  model::CausalLm& model() const { return *model_; }
  const Mesh& mesh() const { return mesh_; }
  const DistributedOptions& options() const { return options_; }
  FlatParameters& parameters() { return *trained_; }
  GradSync& grad_sync() { return *grad_sync_; }
  Schedule& schedule() { return *schedule_; }
  /// What this rank computes on of its data-parallel rank's micro-batch.
  data::Batch local(const data::Batch& batch) const { return context_->local(batch); }
  /// The place on mesh.pp() that has the last layers.
  int64_t output_stage_rank() const { return output_stage_rank_; }
  bool has_output() const { return mesh_.position().pp == output_stage_rank_; }
  /// Whether copies of the model lend each other weights or experts in a forward, so that all must run one.
  bool needs_company() const;
  int64_t num_parameters() const;  ///< of the whole model
  int64_t num_trained() const;
  /// Of the whole model, in execution order.
  const std::vector<std::string>& trained_names() const { return trained_names_; }
  /// After a step's backwards and after evaluations: memory of gathered weights goes back.
  void drop_gathered() {
    if (sharded_) sharded_->drop_all();
  }
  /// Runs `body` on rank 0 of the world with a source of whole weights by name: masters of what is trained,
  /// other weights in the compute dtype. The other ranks serve it. Collective.
  void with_whole_weights(const std::function<void(const model::WeightSource&)>& body);
  /// The whole gradient that the last finish() left, on every rank. Collective.
  at::Tensor whole_gradient(const std::string& name);
  /// The whole weight, as with_whole_weights() gives it, on every rank. Collective.
  at::Tensor whole_weight(const std::string& name);

 private:
  using Values = std::function<at::Tensor(const FlatParameters& holder, const OwnedPiece& piece)>;
  at::Tensor collect(const std::string& name, at::ScalarType dtype, const Values& values);
  bool answers_for(const FlatParameters* holder, const ParameterTraits& traits) const;

  std::shared_ptr<model::CausalLm> model_;
  const Mesh& mesh_;
  DistributedOptions options_;
  int64_t output_stage_rank_;
  std::map<std::string, std::vector<int64_t>> shapes_;  // of all parameters of the whole model
  std::vector<std::string> trained_names_;              // in execution order
  Traits traits_;
  std::vector<std::unique_ptr<comm::Communicator>> groups_;
  std::unique_ptr<ContextParallel> context_;
  std::unique_ptr<FlatParameters> trained_, frozen_;
  std::unique_ptr<ShardedWeights> sharded_;
  std::unique_ptr<GradSync> grad_sync_;  // null where nothing is trained
  std::unique_ptr<Schedule> schedule_;
};

}  // namespace phalanx::parallel
