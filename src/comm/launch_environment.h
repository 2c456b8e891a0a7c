#pragma once
#include <functional>
#include <optional>
#include <string>

namespace phalanx::comm {

/// What a launcher has told this process through its environment, before MPI_Init. After it MPI's own rank
/// decides.
struct LaunchEnvironment {
  std::string launcher;  ///< "torchrun", "Open MPI", "MPICH", "MVAPICH", "Slurm"; empty: not started by one
  int rank = 0;
  int size = 1;
  int local_rank = 0;  ///< among the ranks of this host
  int local_size = 1;
  bool started_by_launcher() const { return !launcher.empty(); }
};

/// Reads a variable: its value, or null. launch/ passes std::getenv; nothing here reads the environment
/// itself.
using GetVariable = std::function<const char*(const char* name)>;

/// Open MPI, MPICH and MVAPICH go before Slurm (mpirun inside sbatch has the batch step's SLURM_PROCID), and
/// a Slurm job counts only with a step: the batch script itself is no rank. A launcher counts when its rank
/// and size are both there.
/// @throws core::Error (kBadConfig) with the variable's name when a value is not a number or the rank is not
/// below the size
LaunchEnvironment read_launch_environment(const GetVariable& get);

/// Tasks on node `node` from Slurm's short form: "2(x3),1" is 2, 2, 2, 1. Nothing if it is malformed or too
/// short.
std::optional<int> slurm_tasks_on_node(const std::string& text, int node);

}  // namespace phalanx::comm
