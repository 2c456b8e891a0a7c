#pragma once

namespace phalanx::launch {

/// Starts this same command line again as `num_ranks` processes: mpirun, or srun inside a Slurm allocation
/// that has enough tasks. Waits for them and returns their exit code, 75 when they were killed from outside.
///
/// SIGINT and SIGTERM to this process reach the ranks as SIGUSR1 ("finish the step, save, exit 75"): mpirun
/// forwards that one, while its own SIGTERM would kill the ranks at once. A second SIGINT ends the job
/// without saving. If this process is killed outright, its ranks get SIGUSR1 as well.
int start_ranks(int num_ranks);

}  // namespace phalanx::launch
