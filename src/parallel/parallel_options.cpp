#include "parallel/parallel_options.h"

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
      s.field("tp", &ParallelOptions::tp, {.help = "Tensor-parallel ranks.", .unit = "ranks", .min = 1});
      s.field("pp", &ParallelOptions::pp, {.help = "Pipeline stages.", .unit = "ranks", .min = 1});
      s.field("cp", &ParallelOptions::cp, {.help = "Context-parallel ranks.", .unit = "ranks", .min = 1});
      s.field("ep", &ParallelOptions::ep,
              {.help = "Expert-parallel ranks, out of dp x cp.", .unit = "ranks", .min = 1});
      s.field("zero_stage", &ParallelOptions::zero_stage,
              {.help = "0: every rank holds all weights, gradients and moments.", .min = 0, .max = 3});
      s.field("backend", &ParallelOptions::backend,
              {.help = "Who carries the collectives. auto: mpi on CPUs, nccl on GPUs.",
               .one_of = {"auto", "mpi", "nccl"}});
    });

/// Axes that have a name but no code behind it yet are refused, never ignored.
void check_supported(const Config& config, std::vector<Violation>& violations) {
  const auto& options = config.get<ParallelOptions>();
  const std::pair<const char*, int64_t> axes[] = {
      {"tp", options.tp}, {"pp", options.pp}, {"cp", options.cp}, {"ep", options.ep}};
  for (const auto& [axis, size] : axes) {
    if (size == 1) continue;
    violations.push_back(
        {fmt::format("parallel.{}", axis),
         fmt::format(
             "parallel.{} is {} but this version has data parallelism only; set it to 1 and use parallel.dp",
             axis, size)});
  }
  if (options.zero_stage != 0) {
    violations.push_back(
        {"parallel.zero_stage",
         fmt::format("parallel.zero_stage is {} but this version has stage 0 only", options.zero_stage)});
  }
}

void check_power_of_two(const Config& config, std::vector<Violation>& violations) {
  const int64_t dp = config.get<ParallelOptions>().dp;
  if (config.get<core::RunOptions>().determinism != "mesh_invariant" || (dp & (dp - 1)) == 0) return;
  violations.push_back(
      {"parallel.dp", fmt::format("parallel.dp is {} but must be a power of two with run.determinism: "
                                  "mesh_invariant, whose sums follow a binary tree",
                                  dp)});
}

const bool constraints_added = core::add_constraint("built axes", check_supported) &&
                               core::add_constraint("power of two", check_power_of_two);

}  // namespace
}  // namespace phalanx::parallel
