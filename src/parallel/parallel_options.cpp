#include "parallel/parallel_options.h"

#include "comm/device_group.h"
#include "core/config.h"
#include "core/run_options.h"

namespace phalanx::parallel {
namespace {

using core::Config;
using core::Violation;

const bool registered = core::register_section<ParallelOptions>(
    "parallel", "How the ranks are used; the product of the axes is the number of ranks.",
    [](core::SectionBuilder<ParallelOptions>& s) {
      s.field("dp", &ParallelOptions::dp, {.help = "Data-parallel ranks.", .unit = "ranks", .min = 1});
      s.field("dp_replicate", &ParallelOptions::dp_replicate,
              {.help = "Of dp, so many groups hold copies of what zero_stage shards inside a group (hybrid "
                       "sharding).",
               .unit = "groups",
               .min = 1});
      s.field("tp", &ParallelOptions::tp, {.help = "Tensor-parallel ranks.", .unit = "ranks", .min = 1});
      s.field("pp", &ParallelOptions::pp, {.help = "Pipeline stages.", .unit = "ranks", .min = 1});
      s.field("cp", &ParallelOptions::cp, {.help = "Context-parallel ranks.", .unit = "ranks", .min = 1});
      s.field("ep", &ParallelOptions::ep,
              {.help = "Expert-parallel ranks, out of dp x cp: they share out the experts of each layer.",
               .unit = "ranks",
               .min = 1});
      s.field(
          "zero_stage", &ParallelOptions::zero_stage,
          {.help =
               "What the ranks of dp x cp share out: 0 nothing, 1 master weights and moments, 2 gradients "
               "too, 3 weights too.",
           .min = 0,
           .max = 3});
      s.field("sequence_parallel", &ParallelOptions::sequence_parallel,
              {.help = "tp ranks share out the tokens of norms and residual stream, too."});
      s.field("allow_uneven", &ParallelOptions::allow_uneven,
              {.help = "tp may cut heads and features that do not divide into unequal parts."});
      s.field("pipeline_schedule", &ParallelOptions::pipeline_schedule,
              {.help = "Order of forwards and backwards on the stages of pp.",
               .one_of = {"gpipe", "1f1b", "interleaved_1f1b", "zb_h1", "zb_v"}});
      s.field("virtual_stages", &ParallelOptions::virtual_stages,
              {.help = "Stages on each rank of pp: any number with interleaved_1f1b, 2 with zb_v, else 1.",
               .min = 1});
      s.field("context_parallel", &ParallelOptions::context_parallel,
              {.help = "How cp ranks attend to each other's tokens: a ring of keys and values, or an "
                       "exchange of tokens "
                       "for heads.",
               .one_of = {"ring", "ulysses"}});
      s.field("bucket_mb", &ParallelOptions::bucket_mb,
              {.help = "Gradients that are reduced in one message, at least.", .unit = "MiB", .min = 1});
      s.field("timeout_s", &ParallelOptions::timeout_s,
              {.help = "A collective or message that waits longer than this for another rank fails, naming "
                       "it; 0: never.",
               .unit = "seconds",
               .min = 0});
      s.field("backend", &ParallelOptions::backend,
              {.help = "Who carries the collectives. auto: mpi on CPUs, nccl on GPUs.",
               .one_of = {"auto", "mpi", "nccl"}});
    });

void check_axes(const Config& config, std::vector<Violation>& violations) {
  const auto& options = config.get<ParallelOptions>();
  if (options.dp % options.dp_replicate != 0) {
    violations.push_back(
        {"parallel.dp_replicate", fmt::format("parallel.dp_replicate is {} but must divide parallel.dp = {}",
                                              options.dp_replicate, options.dp)});
  }
  if (options.dp_replicate > 1 && options.zero_stage == 0) {
    violations.push_back(
        {"parallel.dp_replicate",
         fmt::format("parallel.dp_replicate is {} but with parallel.zero_stage 0 nothing is sharded "
                     "and all ranks are replicas; leave it out or set zero_stage to 1, 2 or 3",
                     options.dp_replicate)});
  }
  if (options.sequence_parallel && options.tp == 1) {
    violations.push_back({"parallel.sequence_parallel",
                          "parallel.sequence_parallel needs parallel.tp of at least 2; leave it out"});
  }
}

void check_backend(const Config& config, std::vector<Violation>& violations) {
  if (config.get<ParallelOptions>().backend != "nccl") return;
  if (!comm::is_built_with_cuda()) {
    violations.push_back(
        {"parallel.backend",
         "parallel.backend is nccl but this program was built without CUDA; build the preset "
         "cuda, or use mpi"});
  }
  if (config.get<core::RunOptions>().determinism == "mesh_invariant") {
    violations.push_back({"parallel.backend",
                          "parallel.backend is nccl but must be mpi with run.determinism: mesh_invariant, "
                          "whose sums follow a binary tree that NCCL does not offer"});
  }
}

void check_mesh_invariant(const Config& config, std::vector<Violation>& violations) {
  const auto& options = config.get<ParallelOptions>();
  if (config.get<core::RunOptions>().determinism != "mesh_invariant") return;
  const int64_t dp = options.dp;
  if ((dp & (dp - 1)) != 0) {
    violations.push_back(
        {"parallel.dp", fmt::format("parallel.dp is {} but must be a power of two with run.determinism: "
                                    "mesh_invariant, whose sums follow a binary tree",
                                    dp)});
  }
  if (options.cp != 1) {
    violations.push_back(
        {"parallel.cp",
         fmt::format("parallel.cp is {} but must be 1 with run.determinism: mesh_invariant: sums over "
                     "parts of a sequence have other bits; use reproducible",
                     options.cp)});
  }
}

const bool constraints_added = core::add_constraint("axes fit", check_axes) &&
                               core::add_constraint("mesh invariant", check_mesh_invariant) &&
                               core::add_constraint("backend", check_backend);

}  // namespace

DistributedOptions distributed_options(const ParallelOptions& options, bool mesh_invariant,
                                       Recompute recompute) {
  return {.zero_stage = options.zero_stage,
          .bucket_bytes = options.bucket_mb << 20,
          .mesh_invariant = mesh_invariant,
          .recompute = recompute,
          .tensor = {options.sequence_parallel, options.allow_uneven},
          .pipeline = {parse_pipeline_schedule(options.pipeline_schedule), options.virtual_stages},
          .context = options.context_parallel == "ulysses" ? ContextKind::kUlysses : ContextKind::kRing};
}

}  // namespace phalanx::parallel
