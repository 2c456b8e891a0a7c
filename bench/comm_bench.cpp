// all_reduce between threads (Google Benchmark), and between processes: mpirun -n 2 comm_bench --mpi.
// The yardstick is memcpy in the same run, by as many ranks at once: an all_reduce in memory has to read and
// write each rank's tensor once, as a copy of each rank's tensor does. "share" is the all_reduce's rate over
// the copy's.
#include <benchmark/benchmark.h>
#include <mpi.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include "comm/mpi_runtime.h"
#include "comm/run_ranks.h"

namespace phalanx::comm {
namespace {

/// Seconds per call of `body`, by all ranks together, the best of `rounds`.
double best_seconds(Communicator& ranks, int rounds, const std::function<void()>& body) {
  double best = 1e30;
  for (int i = 0; i < rounds; ++i) {
    ranks.barrier();
    const auto start = std::chrono::steady_clock::now();
    body();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, ranks.all_reduce_scalar(seconds, ReduceOp::kMax));
  }
  return best;
}

double memcpy_seconds(Communicator& ranks, const at::Tensor& tensor) {
  const at::Tensor copy = at::zeros_like(tensor);
  return best_seconds(
      ranks, 5, [&] { std::memcpy(copy.mutable_data_ptr(), tensor.const_data_ptr(), tensor.nbytes()); });
}

void all_reduce_between_threads(benchmark::State& state) {
  const int num_ranks = static_cast<int>(state.range(0));
  const int64_t bytes = state.range(1);
  double seconds = 0, copy_seconds = 0;
  for (auto _ : state) {
    run_ranks(num_ranks, [&](Communicator& ranks) {
      const at::Tensor tensor = at::ones({bytes / 4}, at::kFloat);
      const double mine = best_seconds(ranks, 5, [&] { ranks.all_reduce(tensor); });
      const double copying = memcpy_seconds(ranks, tensor);
      if (ranks.rank() == 0) {
        seconds = mine;
        copy_seconds = copying;
      }
    });
    state.SetIterationTime(seconds);
  }
  state.counters["GB/s"] = bytes / seconds * 1e-9;
  state.counters["memcpy_GB/s"] = bytes / copy_seconds * 1e-9;
  state.counters["share"] = copy_seconds / seconds;
}

BENCHMARK(all_reduce_between_threads)
    ->ArgNames({"ranks", "bytes"})
    ->ArgsProduct({{2, 4}, {4 << 10, 1 << 20, 64 << 20}})
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);

void bench_mpi_size(Communicator& ranks, int64_t bytes, int rounds) {
  const at::Tensor tensor = at::ones({bytes / 4}, at::kFloat);
  const double ours = best_seconds(ranks, rounds, [&] { ranks.all_reduce(tensor); });
  const double mpi = best_seconds(ranks, rounds, [&] {
    MPI_Allreduce(MPI_IN_PLACE, tensor.mutable_data_ptr(), static_cast<int>(tensor.numel()), MPI_FLOAT,
                  MPI_SUM, MPI_COMM_WORLD);
  });
  const double copying = memcpy_seconds(ranks, tensor);
  if (ranks.rank() != 0) return;
  std::printf(
      "all_reduce ranks:%d bytes:%-10ld %10.1f us %7.2f GB/s   MPI_Allreduce %10.1f us %7.2f GB/s   memcpy "
      "%7.2f GB/s  "
      "share %.2f\n",
      ranks.size(), static_cast<long>(bytes), ours * 1e6, bytes / ours * 1e-9, mpi * 1e6, bytes / mpi * 1e-9,
      bytes / copying * 1e-9, copying / ours);
}

int bench_mpi(int argc, char** argv) {
  MpiRuntime runtime;
  MpiOptions options;
  if (argc > 2) options.staging_bytes = std::atoll(argv[2]);  // 0: the default; negative: messages
  if (options.staging_bytes < 0) options = {.shared_memory = false};
  const std::unique_ptr<Communicator> ranks = make_mpi_communicator(runtime, options);
  bench_mpi_size(*ranks, 8, 200);
  bench_mpi_size(*ranks, 4 << 10, 200);
  bench_mpi_size(*ranks, 1 << 20, 50);
  bench_mpi_size(*ranks, 25 << 20, 10);
  bench_mpi_size(*ranks, 540'000'000, 4);
  return 0;
}

}  // namespace
}  // namespace phalanx::comm

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--mpi") == 0) return phalanx::comm::bench_mpi(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
