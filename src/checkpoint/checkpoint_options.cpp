#include "checkpoint/checkpoint_options.h"

#include "core/config.h"

namespace phalanx::checkpoint {

namespace {

const bool registered = core::register_section<CheckpointOptions>(
    "checkpoint", "Saving and resuming.", [](core::SectionBuilder<CheckpointOptions>& section) {
      section
          .field("every_steps", &CheckpointOptions::every_steps,
                 {.help =
                      "Save after every so many optimizer steps; 0 saves only when the run is asked to stop.",
                  .unit = "steps",
                  .min = 0})
          .field("keep_last", &CheckpointOptions::keep_last,
                 {.help = "Keep this many of the newest checkpoints, and never fewer than the last two known "
                          "to be whole; 0 keeps all.",
                  .min = 0})
          .field("resume", &CheckpointOptions::resume,
                 {.help = "auto: continue from the newest whole checkpoint of run.output_dir if there is "
                          "one; must: there has to be "
                          "one; never: refuse to start if there is one; anything else: the path of a run or "
                          "checkpoint to start "
                          "from while run.output_dir has none of its own."})
          .field("strict", &CheckpointOptions::strict,
                 {.help = "Stop with exit code 65 at a damaged checkpoint instead of moving it aside and "
                          "using the one before it."})
          .field("save_final", &CheckpointOptions::save_final,
                 {.help = "Write the trained model or adapter into final/ at the end."});
    });

}  // namespace

}  // namespace phalanx::checkpoint
