#include "core/run_options.h"

#include "core/config.h"

namespace phalanx::core {

namespace {

const bool registered =
    register_section<RunOptions>("run", "The run as a whole.", [](SectionBuilder<RunOptions>& s) {
      s.field("name", &RunOptions::name, {.help = "Name of the run in reports and logs."});
      s.field("output_dir", &RunOptions::output_dir,
              {.help = "Folder of the run: metrics, checkpoints and the final model; relative to the current "
                       "directory."});
      s.field(
          "seed", &RunOptions::seed,
          {.help = "Key of every random number: data order, initial weights, dropout, sampling.", .min = 0});
      s.field("determinism", &RunOptions::determinism,
              {.help = "`reproducible`: the same mesh gives the same bits; `mesh_invariant`: also every "
                       "data-parallel size and "
                       "accumulation split does; `off`: whatever is fastest.",
               .one_of = {"off", "reproducible", "mesh_invariant"}});
      s.field("threads", &RunOptions::threads,
              {.help = "Threads of each rank; null: the machine's cores divided by its ranks.",
               .unit = "threads",
               .min = 1,
               .max = 4096});
    });

}  // namespace

}  // namespace phalanx::core
