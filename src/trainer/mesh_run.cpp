#include "trainer/mesh_run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "comm/run_ranks.h"
#include "trainer/optimizer.h"

namespace phalanx::trainer {
namespace {

constexpr double kTimeoutSeconds = 3600;

/// One rank's part of a run; rank 0 fills `run`.
void record(const MeshRank& rank, int64_t num_steps, MeshRun& run) {
  const bool is_main = rank.world.rank() == 0;
  const auto for_all_trained = [&](const auto& body) {
    for (const Trainer::Part& part : rank.trainer.parts()) {
      for (const std::string& name : part.trained.model.trained_names())
        body(part.trained.prefix + name, part.trained.model, name);
    }
  };
  const auto collect_weights = [&](std::map<std::string, at::Tensor>& into) {
    for_all_trained(
        [&](const std::string& global, parallel::DistributedModel& model, const std::string& name) {
          at::Tensor weight = model.whole_weight(name).clone();
          if (is_main) into.emplace(global, std::move(weight));
        });
  };
  for_all_trained([&](const std::string& global, const auto&, const auto&) {
    if (is_main) run.order.push_back(global);
  });
  collect_weights(run.initial_weights);
  for (int64_t step = 0; step < num_steps; ++step) {
    const StepStats stats = rank.trainer.train_step();
    std::map<std::string, at::Tensor> gradients;
    for_all_trained(
        [&](const std::string& global, parallel::DistributedModel& model, const std::string& name) {
          at::Tensor gradient = model.whole_gradient(name);
          if (is_main) gradients.emplace(global, std::move(gradient));
        });
    if (!is_main) continue;
    run.losses.push_back(stats.loss);
    run.grad_norms.push_back(stats.grad_norm);
    run.gradients.push_back(std::move(gradients));
  }
  collect_weights(run.weights);
}

}  // namespace

std::string MeshCase::text() const {
  std::string text;
  const auto add = [&](const std::string& word) { text += (text.empty() ? "" : " ") + word; };
  if (shape.pp > 1) {
    add(fmt::format("pp {} {}", shape.pp, parallel::name(options.pipeline.kind)));
    if (options.pipeline.chunks_per_rank > 1) add(fmt::format("v {}", options.pipeline.chunks_per_rank));
  }
  if (shape.dp_replicate > 1) add(fmt::format("dp_replicate {}", shape.dp_replicate));
  if (shape.dp_shard > 1) add(fmt::format("dp {}", shape.dp_shard));
  if (options.zero_stage > 0) add(fmt::format("zero {}", options.zero_stage));
  if (shape.cp > 1)
    add(fmt::format("cp {} {}", shape.cp,
                    options.context == parallel::ContextKind::kRing ? "ring" : "ulysses"));
  if (shape.ep > 1) add(fmt::format("ep {}", shape.ep));
  if (shape.tp > 1) add(fmt::format("tp {}{}", shape.tp, options.tensor.sequence_parallel ? " sp" : ""));
  if (options.recompute == parallel::Recompute::kFull) add("recompute");
  return text.empty() ? "1 rank" : text;
}

namespace {

using parallel::PipelineScheduleKind;

std::vector<parallel::PipelineOptions> pipelines(int64_t pp) {
  if (pp == 1) return {{}};
  return {{PipelineScheduleKind::kGPipe, 1},
          {PipelineScheduleKind::k1F1B, 1},
          {PipelineScheduleKind::kInterleaved1F1B, 2},
          {PipelineScheduleKind::kZeroBubbleH1, 1},
          {PipelineScheduleKind::kZeroBubbleV, 2}};
}

// Without the inner choices: the product of the axes is `num_ranks`.
std::vector<parallel::MeshShape> shapes_of(int64_t num_ranks) {
  std::vector<parallel::MeshShape> shapes;
  const auto divides = [](int64_t part, int64_t whole) { return whole % part == 0; };
  for (int64_t pp = 1; pp <= num_ranks; ++pp) {
    for (int64_t tp = 1; tp <= num_ranks; ++tp) {
      for (int64_t cp = 1; cp <= num_ranks; ++cp) {
        if (!divides(pp * tp * cp, num_ranks)) continue;
        const int64_t dp = num_ranks / (pp * tp * cp);
        for (const int64_t replicas : {1, 2}) {
          if (replicas > 1 && (dp < 4 || dp % 2 != 0)) continue;
          for (int64_t ep = 1; ep <= dp / replicas * cp; ++ep) {
            if (divides(ep, dp / replicas * cp)) shapes.push_back({pp, replicas, dp / replicas, cp, tp, ep});
          }
        }
      }
    }
  }
  return shapes;
}

}  // namespace

std::vector<MeshCase> feasible_meshes(const model::TransformerConfig& config, const MeshRecipe& recipe,
                                      int64_t num_ranks, bool allow_uneven) {
  std::vector<MeshCase> cases;
  for (const parallel::MeshShape& shape : shapes_of(num_ranks)) {
    if (recipe.sizes.global % (shape.dp_replicate * shape.dp_shard * recipe.sizes.micro) != 0) continue;
    const bool is_hybrid = shape.dp_replicate > 1, has_shards = shape.dp_shard * shape.cp > 1;
    for (int64_t zero = is_hybrid ? 1 : 0; zero <= (has_shards ? 3 : 0); ++zero) {
      for (const parallel::PipelineOptions& pipeline : pipelines(shape.pp)) {
        for (const bool sequence_parallel : {false, true}) {
          if (sequence_parallel && shape.tp == 1) continue;
          for (const auto context : {parallel::ContextKind::kRing, parallel::ContextKind::kUlysses}) {
            if (context == parallel::ContextKind::kUlysses && shape.cp == 1) continue;
            const parallel::DistributedOptions options{.zero_stage = zero,
                                                       .bucket_bytes = 4096,
                                                       .tensor = {sequence_parallel, allow_uneven},
                                                       .pipeline = pipeline,
                                                       .context = context};
            if (parallel::why_not(config, shape, options).empty()) cases.push_back({shape, options});
          }
        }
      }
    }
  }
  return cases;
}

void on_mesh(const MeshRecipe& recipe, const MeshCase& mesh_case, at::ScalarType compute,
             const std::function<void(const MeshRank&)>& body) {
  const auto run_rank = [&](comm::Communicator& world) {
    at::set_num_threads(1);
    const parallel::Mesh mesh(world, mesh_case.shape);
    const TrainedModel trained = recipe.build(compute);
    parallel::DistributedModel model(trained.model, mesh, mesh_case.options);
    recipe.fill(trained, compute);
    model.take_weights(compute);
    const auto optimizer = make_optimizer(recipe.trainer.optimizer, model.parameters());
    const auto method = recipe.task->start(trained, model, recipe.sizes);
    Trainer trainer(model, *method, *optimizer, recipe.trainer);
    body({world, model, *optimizer, trainer});
  };
  comm::run_ranks(static_cast<int>(mesh_case.shape.num_ranks()), run_rank, kTimeoutSeconds);
}

MeshRun run_on_mesh(const MeshRecipe& recipe, const MeshCase& mesh_case, at::ScalarType compute,
                    int64_t num_steps, const Sabotage& sabotage) {
  MeshRun run;
  on_mesh(recipe, mesh_case, compute, [&](const MeshRank& rank) {
    if (sabotage) sabotage(rank.model);
    record(rank, num_steps, run);
  });
  return run;
}

double relative_distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  const double apart = (a.to(at::kDouble) - wide).norm().item<double>();
  return apart == 0 ? 0 : apart / std::max(wide.norm().item<double>(), 1e-300);
}

bool is_rounding_noise(const MeshRun& run, const MeshRun& reference, size_t step, const std::string& name) {
  constexpr double kRoundings = 16;
  const at::Tensor &a = run.gradients[step].at(name), &b = reference.gradients[step].at(name);
  const double unit = b.scalar_type() == at::kDouble ? 0x1p-53 : 0x1p-24;
  const double limit = kRoundings * unit * reference.grad_norms[step];
  return std::max(a.to(at::kDouble).norm().item<double>(), b.to(at::kDouble).norm().item<double>()) < limit;
}

double gradient_distance(const MeshRun& run, const MeshRun& reference, size_t step, const std::string& name) {
  if (is_rounding_noise(run, reference, step, name)) return 0;
  return relative_distance(run.gradients[step].at(name), reference.gradients[step].at(name));
}

MeshDifference difference(const MeshRun& run, const MeshRun& reference) {
  MeshDifference result;
  for (size_t i = 0; i < reference.losses.size(); ++i)
    result.loss =
        std::max(result.loss, std::abs(run.losses[i] - reference.losses[i]) / std::abs(reference.losses[i]));
  for (const std::string& name : reference.order) {
    const double gradient = gradient_distance(run, reference, 0, name);
    if (gradient > result.gradient || result.worst_gradient.empty()) {
      result.gradient = gradient;
      result.worst_gradient = name;
    }
    if (is_rounding_noise(run, reference, 0, name)) continue;
    result.weight =
        std::max(result.weight, relative_distance(run.weights.at(name), reference.weights.at(name)));
  }
  return result;
}

}  // namespace phalanx::trainer
