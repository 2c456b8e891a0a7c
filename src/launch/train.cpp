#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "comm/failure.h"
#include "comm/launch_environment.h"
#include "comm/mpi_runtime.h"
#include "core/config.h"
#include "core/files.h"
#include "core/log.h"
#include "core/run_options.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/loaded_model.h"
#include "launch/self_start.h"
#include "launch/stop_signal.h"
#include "parallel/parallel_options.h"
#include "trainer/data_setup.h"
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

void check_mesh(const core::Config& config, int size) {
  const auto& parallel = config.get<parallel::ParallelOptions>();
  if (parallel.num_ranks() == size) return;
  core::fail(ExitCode::kBadConfig,
             "{}: error: the mesh dp x tp x pp x cp = {} x {} x {} x {} needs {} ranks but {} were started; "
             "start that many (mpirun -n {}), "
             "or set parallel.dp: {}",
             config.position("parallel.dp"), parallel.dp, parallel.tp, parallel.pp, parallel.cp,
             parallel.num_ranks(), size, parallel.num_ranks(), size);
}

/// Errors of the config begin with their place and are the same on every rank.
void print_failure(const std::string& line) {
  const bool has_place = line.find(": error: ") != std::string::npos;
  const size_t begin = has_place && line.starts_with("rank ") ? line.find(": ") + 2 : 0;
  std::fprintf(stderr, "%s%s\n", has_place ? "" : "error: ", line.c_str() + begin);
}

/// One rank of several. Its error reaches the terminal once, with its rank number, and releases the others.
int run_rank(const core::Config& config) {
  comm::MpiRuntime mpi;
  try {
    check_mesh(config, mpi.size());
    set_threads(config, mpi.local_size());
    set_up_log(config, mpi.rank());
    auto group =
        comm::make_mpi_communicator(mpi, {.timeout_s = config.get<parallel::ParallelOptions>().timeout_s});
    return static_cast<int>(trainer::run_training(config, *group, stop_requested));
  } catch (...) {
    core::set_status_line("");
    const comm::Failure failure = comm::describe_failure(std::current_exception(), mpi.rank());
    mpi.end_failed_job(failure, print_failure);
  }
}

int run_alone(const core::Config& config) {
  set_threads(config);
  set_up_log(config, 0);
  auto group = comm::make_single_communicator();
  return static_cast<int>(trainer::run_training(config, *group, stop_requested));
}

bool started_by_launcher() {
  return comm::read_launch_environment([](const char* name) { return std::getenv(name); })
      .started_by_launcher();
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
  if (arguments.dry_run) return dry_run(config);
  const int64_t ranks = config.get<parallel::ParallelOptions>().num_ranks();
  if (started_by_launcher()) {
    install_stop_signals();
    return run_rank(config);
  }
  const auto& parallel = config.get<parallel::ParallelOptions>();
  // Before any rank is started, where more than the number of ranks has to fit.
  if (parallel.tp * parallel.pp * parallel.cp > 1)
    trainer::check_mesh(config, trainer::ModelSetup(config).config());
  if (ranks > 1) return start_ranks(static_cast<int>(ranks));
  install_stop_signals();
  return run_alone(config);
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
  std::string report;
  trainer::set_up_data(config, trainer::ModelSetup(config), *group, report);
  std::fputs(report.c_str(), stderr);
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
}  // namespace phalanx::launch
