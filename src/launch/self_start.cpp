#include "launch/self_start.h"

#include <signal.h>

#include <string>
#include <thread>
#include <vector>

#include "launch/command_line.h"
#include "launch/process.h"

namespace phalanx::launch {
namespace {

std::vector<std::string> mpirun_command(int num_ranks) {
  std::vector<std::string> words = {
      "mpirun", "-n", std::to_string(num_ranks), "--quiet", "--oversubscribe", "--bind-to", "none"};
  if (static_cast<unsigned>(num_ranks) > std::thread::hardware_concurrency()) {
    words.insert(words.end(), {"--mca", "mpi_yield_when_idle", "1"});
  }
  return words;
}

std::vector<std::string> srun_command(int num_ranks) {
  return {"srun", "--mpi=pmix", "-n", std::to_string(num_ranks)};
}

std::vector<std::string> launcher_command(int num_ranks) {
  std::vector<std::string> words =
      environment("SLURM_JOB_ID") ? srun_command(num_ranks) : mpirun_command(num_ranks);
  words.push_back(program_path());
  words.insert(words.end(), command_line().begin() + 1, command_line().end());
  return words;
}

}  // namespace

int start_ranks(int num_ranks) {
  return run_process(launcher_command(num_ranks), SIGTERM);
}

}  // namespace phalanx::launch
