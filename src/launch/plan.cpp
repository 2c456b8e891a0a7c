#include <fmt/format.h>

#include <cstdio>

#include "core/config.h"
#include "launch/command.h"
#include "parallel/parallel_options.h"
#include "parallel/pipeline_diagram.h"
#include "parallel/pipeline_plan.h"
#include "trainer/model_setup.h"
#include "trainer/options.h"

namespace phalanx::launch {
namespace {

/// What a config's mesh is, who holds which layers, and in which order its stages work.
int plan(const std::string& path, const std::vector<std::string>& sets) {
  const core::Config config = core::Config::load(path, sets);
  const auto& options = config.get<parallel::ParallelOptions>();
  const auto& train = config.get<trainer::TrainOptions>();
  const model::TransformerConfig model = trainer::ModelSetup(config).config();
  trainer::check_mesh(config, model);
  const int64_t micro_steps = train.global_batch_size / (options.dp * train.micro_batch_size);
  const int64_t chunks = options.pp > 1 ? options.virtual_stages : 1;
  const auto kind = options.pp > 1 ? parallel::parse_pipeline_schedule(options.pipeline_schedule)
                                   : parallel::PipelineScheduleKind::k1F1B;
  const parallel::PipelinePlan plan = parallel::make_pipeline_plan(kind, options.pp, chunks, micro_steps);
  std::printf("mesh: %s; zero_stage %ld\n", options.mesh_shape().text().c_str(),
              static_cast<long>(options.zero_stage));
  for (int64_t stage = 0; stage < plan.num_stages(); ++stage) {
    const auto range = parallel::layers_of_stage(stage, plan.num_stages(), model);
    std::printf("stage %ld on pp rank %ld: layers %ld to %ld%s%s\n", static_cast<long>(stage),
                static_cast<long>(plan.rank_of(stage)), static_cast<long>(range.begin),
                static_cast<long>(range.end - 1), stage == 0 ? ", embedding" : "",
                stage + 1 == plan.num_stages() ? ", last norm and head" : "");
  }
  std::printf("%s\n", parallel::draw_pipeline_plan(plan).c_str());
  return 0;
}

const bool plan_registered = register_command(
    {"plan", "Shows the mesh of CONFIG: stages, and the order of their forwards and backwards",
     [](CLI::App& app) {
       auto config = std::make_shared<std::string>();
       auto sets = std::make_shared<std::vector<std::string>>();
       auto show_schedule = std::make_shared<bool>(false);
       app.add_option("config", *config, "YAML file")->required();
       app.add_flag("--show-schedule", *show_schedule, "Draws the pipeline schedule")->required();
       add_set_option(app, *sets);
       return [=] { return plan(*config, *sets); };
     }});

}  // namespace
}  // namespace phalanx::launch
