#include <cstdio>
#include <iostream>

#include "core/config.h"
#include "core/files.h"
#include "core/log.h"
#include "core/run_options.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/ranks.h"
#include "launch/stop_signal.h"
#include "launch/train.h"
#include "parallel/parallel_options.h"
#include "reward/judge.h"
#include "trainer/data_setup.h"
#include "trainer/method.h"
#include "trainer/options.h"
#include "trainer/training_run.h"

namespace phalanx::launch {
namespace {

using core::ExitCode;

void set_up_log(const core::Config& config, int rank) {
  const bool color = !environment("NO_COLOR") && environment("TERM").value_or("dumb") != "dumb";
  core::LogOptions options{.rank = rank, .has_color = color};
  if (rank == 0) {
    core::make_directories(config.get<core::RunOptions>().output_dir);
    options.file = config.get<core::RunOptions>().output_dir + "/log.rank0.txt";
  }
  core::set_up_log(options);
}

int dry_run(const core::Config& config) {
  const trainer::ModelSetup setup(config);
  setup.check();
  trainer::check_mesh(config, setup.config());
  for (const auto* sources :
       {&config.get<data::DataOptions>().train, &config.get<data::DataOptions>().eval}) {
    for (const data::SourceOptions& entry : *sources) trainer::check_data_header(entry);
  }
  const auto& parallel = config.get<parallel::ParallelOptions>();
  std::fprintf(stderr, "ok: config, model and data headers are valid; the run needs %ld rank(s)\n",
               static_cast<long>(parallel.num_ranks()));
  return 0;
}

struct TrainArguments {
  std::string config;
  std::vector<std::string> sets;
  bool print_config = false, dry_run = false;
};

int train(const TrainArguments& arguments) {
  const core::Config config = core::Config::load(arguments.config, arguments.sets);
  if (arguments.print_config) {
    std::cout << config.print(/*with_origins=*/true);
    return 0;
  }
  return arguments.dry_run ? dry_run(config) : train_as(config);
}

const bool train_registered = register_command(
    {"train", "Runs the training that CONFIG describes", [](CLI::App& app) {
       auto arguments = std::make_shared<TrainArguments>();
       app.add_option("config", arguments->config, "YAML file; see docs/config.md")->required();
       app.add_flag("--print-config", arguments->print_config,
                    "Shows the resolved config with the origin of each value, and stops");
       app.add_flag("--dry-run", arguments->dry_run, "Checks config, model and data headers, and stops");
       add_set_option(app, arguments->sets);
       return [arguments] { return train(*arguments); };
     }});

int prepare(const TrainArguments& arguments) {
  const core::Config config = core::Config::load(arguments.config, arguments.sets);
  set_up_log(config, 0);
  auto group = comm::make_single_communicator();
  const trainer::ModelSetup setup(config);
  const auto task =
      trainer::find_method(config.get<trainer::MethodOptions>().name).open(config, setup, *group);
  std::fputs(task->report().c_str(), stderr);
  return 0;
}

const bool prepare_registered = register_command(
    {"prepare", "Tokenises, masks and packs the data of CONFIG ahead of time", [](CLI::App& app) {
       auto arguments = std::make_shared<TrainArguments>();
       app.add_option("config", arguments->config, "YAML file")->required();
       add_set_option(app, arguments->sets);
       return [arguments] { return prepare(*arguments); };
     }});

}  // namespace

int train_as(const core::Config& config) {
  if (!started_by_launcher()) {
    const auto& parallel = config.get<parallel::ParallelOptions>();
    // Before any rank is started, where more than the number of ranks has to fit.
    if (parallel.tp * parallel.pp * parallel.cp > 1)
      trainer::check_mesh(config, trainer::ModelSetup(config).config());
  }
  install_stop_signals();
  reward::set_environment(environment);
  return on_ranks(config, [&](comm::Communicator& group) {
    set_up_log(config, group.rank());
    return static_cast<int>(trainer::run_training(config, group, stop_requested));
  });
}

}  // namespace phalanx::launch
