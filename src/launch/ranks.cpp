#include "launch/ranks.h"

#include <cstdio>
#include <cstdlib>

#include "comm/device_group.h"
#include "comm/failure.h"
#include "comm/launch_environment.h"
#include "comm/mpi_runtime.h"
#include "core/log.h"
#include "launch/loaded_model.h"
#include "launch/self_start.h"
#include "parallel/parallel_options.h"

namespace phalanx::launch {
namespace {

void check_number_of_ranks(const core::Config& config, int size) {
  const auto& parallel = config.get<parallel::ParallelOptions>();
  if (parallel.num_ranks() == size) return;
  core::fail(core::ExitCode::kBadConfig,
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

using SizeCheck = std::function<void(int size)>;

int run_rank(const core::Config& config, const SizeCheck& check_size,
             const std::function<int(comm::Communicator&)>& body) {
  comm::MpiRuntime mpi;
  try {
    check_size(mpi.size());
    set_threads(config, mpi.local_size());
    core::set_up_log({.rank = mpi.rank()});
    const auto& parallel = config.get<parallel::ParallelOptions>();
    const auto group =
        comm::make_device_group(comm::make_mpi_communicator(mpi, {.timeout_s = parallel.timeout_s}),
                                {parallel.backend, mpi.local_rank(), parallel.timeout_s});
    return body(*group);
  } catch (...) {
    core::set_status_line("");
    const comm::Failure failure = comm::describe_failure(std::current_exception(), mpi.rank());
    mpi.end_failed_job(failure, print_failure);
  }
}

int run(const core::Config& config, const SizeCheck& check_size,
        const std::function<int(comm::Communicator&)>& body) {
  if (started_by_launcher()) return run_rank(config, check_size, body);
  const int64_t ranks = config.get<parallel::ParallelOptions>().num_ranks();
  if (ranks > 1) return start_ranks(static_cast<int>(ranks));
  set_threads(config);
  const auto& parallel = config.get<parallel::ParallelOptions>();
  const auto group =
      comm::make_device_group(comm::make_single_communicator(), {parallel.backend, 0, parallel.timeout_s});
  return body(*group);
}

}  // namespace

bool started_by_launcher() {
  return comm::read_launch_environment([](const char* name) { return std::getenv(name); })
      .started_by_launcher();
}

int on_ranks(const core::Config& config, const std::function<int(comm::Communicator& group)>& body) {
  return run(
      config, [&](int size) { check_number_of_ranks(config, size); }, body);
}

int on_any_ranks(const core::Config& config, const std::function<int(comm::Communicator& group)>& body) {
  return run(
      config, [](int) {}, body);
}

}  // namespace phalanx::launch
