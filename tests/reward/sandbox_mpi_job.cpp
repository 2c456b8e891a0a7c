// Started under mpirun: ranks that exchange messages and run sandboxed programs in turn, from several
// threads.
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "core/error.h"
#include "reward/parallel_runs.h"
#include "reward/sandbox.h"

namespace phalanx::reward {
namespace {

int run_sandbox_job(int argc, char** argv) {
  // Before MPI: where there are no namespaces the job ends here, with a message.
  const Sandbox sandbox({.command = {"cat"}, .has_namespaces = argc < 2});
  int provided = 0, rank = 0, size = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  int failures = 0;
  std::vector<double> sums(1 << 20);
  for (int step = 0; step < 5; ++step) {
    std::fill(sums.begin(), sums.end(), rank + step);
    MPI_Request request;
    MPI_Iallreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM,
                   MPI_COMM_WORLD, &request);
    std::vector<std::string> outputs(8);
    run_in_parallel(outputs.size(), 4, [&](size_t i) { outputs[i] = sandbox.run("hello\n").output; });
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    const double expected = size * step + size * (size - 1) / 2.0;
    failures +=
        static_cast<int>(std::count_if(sums.begin(), sums.end(), [&](double x) { return x != expected; }));
    failures += static_cast<int>(
        std::count_if(outputs.begin(), outputs.end(), [](const auto& x) { return x != "hello\n"; }));
  }
  MPI_Allreduce(MPI_IN_PLACE, &failures, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0) std::printf("%d failures\n", failures);
  MPI_Finalize();
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace phalanx::reward

int main(int argc, char** argv) {
  try {
    return phalanx::reward::run_sandbox_job(argc, argv);
  } catch (const phalanx::core::Error& error) {
    std::printf("%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
