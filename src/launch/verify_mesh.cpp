#include "launch/verify_mesh.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cstdio>

#include "comm/communicator.h"
#include "core/config.h"
#include "core/log.h"
#include "core/run_options.h"
#include "launch/loaded_model.h"
#include "parallel/parallel_options.h"
#include "trainer/mesh_diagnosis.h"
#include "trainer/mesh_run.h"
#include "trainer/training_run.h"

namespace phalanx::launch {
namespace {

using core::ExitCode;
using trainer::MeshCase;

int64_t number(const std::string& spec, const std::string& key, const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > 1024) {
    core::fail(ExitCode::kBadConfig, "--mesh {}: {} is \"{}\" but must be a number from 0 to 1024",
               core::printable(spec), key, core::printable(text));
  }
  return value;
}

void set_part(const std::string& spec, const std::string& key, const std::string& value, MeshCase& mesh) {
  parallel::MeshShape& shape = mesh.shape;
  parallel::DistributedOptions& options = mesh.options;
  if (key == "dp") {
    shape.dp_shard = number(spec, key, value);
  } else if (key == "replicate") {
    shape.dp_replicate = number(spec, key, value);
  } else if (key == "tp") {
    shape.tp = number(spec, key, value);
  } else if (key == "pp") {
    shape.pp = number(spec, key, value);
  } else if (key == "cp") {
    shape.cp = number(spec, key, value);
  } else if (key == "ep") {
    shape.ep = number(spec, key, value);
  } else if (key == "zero") {
    options.zero_stage = number(spec, key, value);
  } else if (key == "v") {
    options.pipeline.chunks_per_rank = number(spec, key, value);
  } else if (key == "schedule") {
    options.pipeline.kind = parallel::parse_pipeline_schedule(value);
  } else if (key == "sp") {
    options.tensor.sequence_parallel = true;
  } else if (key == "uneven") {
    options.tensor.allow_uneven = true;
  } else if (key == "recompute") {
    options.recompute = parallel::Recompute::kFull;
  } else if (key == "ring" || key == "ulysses") {
    options.context = key == "ring" ? parallel::ContextKind::kRing : parallel::ContextKind::kUlysses;
  } else {
    core::fail(ExitCode::kBadConfig,
               "--mesh {}: \"{}\" is not known; known are dp=N replicate=N tp=N pp=N cp=N ep=N zero=N v=N "
               "schedule=NAME sp "
               "uneven recompute ring ulysses, joined by commas",
               core::printable(spec), core::printable(key));
  }
}

MeshCase parse_mesh(const std::string& spec) {
  MeshCase mesh;
  for (size_t begin = 0; begin < spec.size();) {
    const size_t end = std::min(spec.find(',', begin), spec.size());
    const std::string part = spec.substr(begin, end - begin);
    const size_t equals = part.find('=');
    set_part(spec, part.substr(0, equals), equals == std::string::npos ? "" : part.substr(equals + 1), mesh);
    begin = end + 1;
  }
  if (mesh.shape.dp_shard % std::max<int64_t>(1, mesh.shape.dp_replicate) != 0 ||
      mesh.shape.num_ranks() * mesh.shape.ep == 0)
    core::fail(ExitCode::kBadConfig, "--mesh {}: replicate must divide dp, and no axis may be 0",
               core::printable(spec));
  mesh.shape.dp_shard /= mesh.shape.dp_replicate;
  return mesh;
}

std::vector<MeshCase> meshes_of(const VerifyMeshArguments& arguments, const model::TransformerConfig& model,
                                const trainer::MeshRecipe& recipe) {
  std::vector<MeshCase> meshes;
  for (const std::string& spec : arguments.meshes) {
    meshes.push_back(parse_mesh(spec));
    const auto reasons = parallel::why_not(model, meshes.back().shape, meshes.back().options);
    if (!reasons.empty())
      core::fail(ExitCode::kBadConfig, "--mesh {}: {}", core::printable(spec), fmt::join(reasons, "; "));
  }
  for (int ranks = 2; arguments.meshes.empty() && ranks <= arguments.max_ranks; ++ranks) {
    for (MeshCase& mesh : trainer::feasible_meshes(model, recipe, ranks, false))
      meshes.push_back(std::move(mesh));
  }
  return meshes;
}

/// One rank in both dtypes, and how far others may be away.
struct Yardstick {
  const char* name;
  at::ScalarType compute;
  trainer::MeshRun reference;
  trainer::MeshBound bound;
};

std::vector<Yardstick> yardsticks(const trainer::MeshRecipe& recipe, at::ScalarType precision,
                                  int64_t steps) {
  std::vector<Yardstick> sticks;
  sticks.push_back({"fp64", at::kDouble, run_on_mesh(recipe, {}, at::kDouble, steps), {}});
  sticks[0].bound = rounding_bound(sticks[0].reference, sticks[0].reference, at::kDouble);
  if (precision != at::kDouble) {
    const char* name = precision == at::kFloat ? "fp32" : "bf16";
    sticks.push_back({name, precision, run_on_mesh(recipe, {}, precision, steps), {}});
    sticks[1].bound = rounding_bound(sticks[1].reference, sticks[0].reference, precision);
  }
  return sticks;
}

/// One row of the table; true if the mesh is within the bound.
bool check(const trainer::MeshRecipe& recipe, const MeshCase& mesh, const Yardstick& stick, int64_t steps) {
  const trainer::MeshRun run = run_on_mesh(recipe, mesh, stick.compute, steps);
  const trainer::MeshDifference apart = difference(run, stick.reference);
  const trainer::MeshDiagnosis found = diagnose(run, stick.reference, stick.bound);
  std::printf("%-52s %s  %8.1e  %8.1e  %s\n", mesh.text().c_str(), stick.name, apart.loss, apart.gradient,
              found.tensor.empty() ? "equal" : "DIFFERS");
  std::fflush(stdout);
  if (found.tensor.empty()) return true;
  const std::string axes = guilty_axes(recipe, mesh, stick.compute, stick.reference, stick.bound);
  std::printf("    first wrong in execution order: %s, %.1e apart %s; axis %s; likely: %s\n",
              found.tensor.c_str(), found.difference,
              found.step == 0 ? "before step 1" : fmt::format("in step {}", found.step).c_str(), axes.c_str(),
              found.kind.c_str());
  return false;
}

}  // namespace

int run_verify_mesh(const VerifyMeshArguments& arguments) {
  const core::Config config = core::Config::load(arguments.config, arguments.sets);
  const trainer::ModelSetup setup(config);
  auto alone = comm::make_single_communicator();
  const std::shared_ptr<const trainer::Task> task =
      trainer::find_method(config.get<trainer::MethodOptions>().name).open(config, setup, *alone);
  const auto& train = config.get<trainer::TrainOptions>();
  const auto seed = static_cast<uint64_t>(config.get<core::RunOptions>().seed);
  trainer::MeshRecipe recipe;
  recipe.build = [&](at::ScalarType compute) { return build_extended_model(config, setup, compute); };
  recipe.fill = [&](const trainer::TrainedModel& trained, at::ScalarType compute) {
    fill_trained_model(trained, setup, compute, seed);
  };
  recipe.task = task;
  recipe.sizes = {train.global_batch_size, train.micro_batch_size};
  recipe.trainer = {config.get<trainer::OptimizerOptions>(), config.get<trainer::ScheduleOptions>(),
                    train.max_grad_norm,
                    std::max<int64_t>(arguments.steps, train.max_steps.value_or(arguments.steps))};
  const std::vector<MeshCase> meshes = meshes_of(arguments, setup.config(), recipe);
  const std::vector<Yardstick> sticks =
      yardsticks(recipe, trainer::compute_dtype(train.precision), arguments.steps);
  for (const Yardstick& stick : sticks)
    std::printf("# %s: limits loss %.1e, gradient %.1e (relative)\n", stick.name, stick.bound.loss,
                stick.bound.gradient);
  std::printf("%-52s %s  %8s  %8s\n", "mesh", "type", "loss", "gradient");
  int64_t failures = 0;
  for (const MeshCase& mesh : meshes) {
    for (const Yardstick& stick : sticks) failures += !check(recipe, mesh, stick, arguments.steps);
  }
  std::printf("%zu meshes, %ld beyond the limits\n", meshes.size(), static_cast<long>(failures));
  return failures == 0 ? 0 : static_cast<int>(ExitCode::kBug);
}

}  // namespace phalanx::launch
