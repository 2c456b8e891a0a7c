#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "parallel/distributed_model.h"
#include "trainer/method.h"
#include "trainer/model_setup.h"
#include "trainer/trainer.h"

namespace phalanx::trainer {

/// A training of a few steps, without a word about ranks.
struct MeshRecipe {
  std::function<TrainedModel(at::ScalarType compute)> build;  ///< unallocated, see build_trained_model()
  std::function<void(const TrainedModel&, at::ScalarType compute)> fill;
  std::shared_ptr<const Task> task;
  BatchSizes sizes;
  TrainerOptions trainer;
};

/// A mesh and what is done on it.
struct MeshCase {
  parallel::MeshShape shape;
  parallel::DistributedOptions options;
  std::string text() const;  ///< "dp 2 zero 3 tp 2 sp"
};

/// Every mesh of `num_ranks` ranks, with every ZeRO stage, pipeline schedule and kind of context parallelism,
/// that this model and batch can run on. Hybrid sharding (two replicas) where there are four data-parallel
/// ranks or more.
std::vector<MeshCase> feasible_meshes(const model::TransformerConfig& config, const MeshRecipe& recipe,
                                      int64_t num_ranks, bool allow_uneven);

/// What came out, under global names: the same whatever the mesh, but for rounding.
struct MeshRun {
  std::vector<double> losses, grad_norms;                    // per step
  std::vector<std::map<std::string, at::Tensor>> gradients;  // per step, whole
  std::map<std::string, at::Tensor> initial_weights;         // whole masters before the first step
  std::map<std::string, at::Tensor> weights;                 // and after the last one
  std::vector<std::string> order;                            // names in execution order
};

/// Called on every rank after its model was cut and filled, before the first step: where tests plant a bug.
using Sabotage = std::function<void(parallel::DistributedModel&)>;

/// What one rank of a run works with.
struct MeshRank {
  comm::Communicator& world;
  parallel::DistributedModel& model;
  Optimizer& optimizer;
  Trainer& trainer;
};
/// Sets the recipe up on every rank of the mesh, one thread each (comm::run_ranks), and runs `body` there.
void on_mesh(const MeshRecipe& recipe, const MeshCase& mesh_case, at::ScalarType compute,
             const std::function<void(const MeshRank&)>& body);

/// Runs `num_steps` steps with one thread per rank (comm::run_ranks), each computing on one core.
MeshRun run_on_mesh(const MeshRecipe& recipe, const MeshCase& mesh_case, at::ScalarType compute,
                    int64_t num_steps, const Sabotage& sabotage = {});

/// |a - b| / |b|, formed in fp64; 0 for equal tensors, whatever b is.
double relative_distance(const at::Tensor& a, const at::Tensor& b);

/// Whether a gradient of this step is nothing but rounding in both runs: less than a few roundings of the
/// whole gradient's norm. A key bias without rotary positions has such a one (softmax does not see what all
/// keys have in common): it cannot be compared, nor the weight that AdamW makes of it.
bool is_rounding_noise(const MeshRun& run, const MeshRun& reference, size_t step, const std::string& name);
/// relative_distance of a gradient; 0 for rounding noise.
double gradient_distance(const MeshRun& run, const MeshRun& reference, size_t step, const std::string& name);

/// How far two runs are apart.
struct MeshDifference {
  double loss = 0;             // relative, worst step
  double gradient = 0;         // worst tensor of the first step, |a - b| / |b|
  double weight = 0;           // worst tensor after the last step, |a - b| / |b|
  std::string worst_gradient;  // its name
};
MeshDifference difference(const MeshRun& run, const MeshRun& reference);

}  // namespace phalanx::trainer
