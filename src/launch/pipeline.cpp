// phalanx pipeline FILE: several stages from one file, of which only what changed runs again.
#include <iostream>

#include "core/error.h"
#include "launch/command.h"
#include "launch/pipeline_run.h"
#include "launch/ranks.h"

namespace phalanx::launch {
namespace {

struct PipelineArguments {
  std::string file, stage;
  std::vector<std::string> sets;
  pipeline::Selection selection;
  bool print_config = false, dry_run = false;
};

int pipeline_command(const PipelineArguments& arguments) {
  const auto pipeline = pipeline::Pipeline::load(arguments.file, arguments.sets);
  if (!arguments.stage.empty()) return run_stage(pipeline, arguments.stage);
  if (started_by_launcher())
    core::fail(core::ExitCode::kBadConfig,
               "a pipeline starts the ranks of each stage itself; start it without mpirun or srun");
  if (arguments.print_config || arguments.dry_run) {
    std::cout << (arguments.dry_run ? dry_run_text(pipeline, arguments.selection) : resolved_text(pipeline))
              << std::flush;
    return 0;
  }
  return run_pipeline(pipeline, arguments.selection);
}

const bool pipeline_registered = register_command(
    {"pipeline", "Runs the stages of FILE, of which only what changed runs again", [](CLI::App& app) {
       auto arguments = std::make_shared<PipelineArguments>();
       PipelineArguments& a = *arguments;
       app.add_option("file", a.file, "YAML file; see docs/pipeline.md")->required();
       app.add_flag("--dry-run", a.dry_run, "Says which stages would run and why, and stops");
       app.add_flag("--print-config", a.print_config, "Shows every key of every stage, and stops");
       CLI::Option* only = app.add_option("--only", a.selection.only, "Looks at this stage alone");
       app.add_option("--from", a.selection.from, "Looks at this stage and those behind it")->excludes(only);
       app.add_flag("--force", a.selection.force,
                    "Stages that are looked at run from their start in any case");
       app.add_option("--run-stage", a.stage, "One stage in this process, which the pipeline has begun");
       add_set_option(app, a.sets);
       return [arguments] { return pipeline_command(*arguments); };
     }});

}  // namespace
}  // namespace phalanx::launch
