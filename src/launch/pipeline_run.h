#pragma once
#include "pipeline/planner.h"

namespace phalanx::launch {

/// Runs the stages that `selection` asks for and that are not up to date, one after the other, each as a
/// process of its own (`phalanx pipeline FILE --run-stage NAME`), which starts the ranks of its mesh. What a
/// stage has done is recorded before the next one begins, so that the same call goes on after any end of this
/// process.
/// @return  0, or the exit code of the stage that did not end well (75: stopped, can go on).
/// @throws core::Error (77) while another process works in the output folder.
int run_pipeline(const pipeline::Pipeline& pipeline, const pipeline::Selection& selection);

/// One stage, in this process. @throws core::Error (78) where the file is not what the pipeline began it
/// with.
int run_stage(const pipeline::Pipeline& pipeline, const std::string& name);

/// A line for each stage: what would be done and why.
std::string dry_run_text(const pipeline::Pipeline& pipeline, const pipeline::Selection& selection);
/// Every key that a stage reads and its value, of all stages.
std::string resolved_text(const pipeline::Pipeline& pipeline);

}  // namespace phalanx::launch
