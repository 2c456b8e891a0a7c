// all_reduce between threads (Google Benchmark), and between processes: mpirun -n 2 comm_bench --mpi.
// The yardstick is memcpy in the same run, by as many ranks at once: an all_reduce in memory has to read and
// write each rank's tensor once, as a copy of each rank's tensor does. "share" is the all_reduce's rate over
// the copy's.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <mpi.h>

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

void report(benchmark::State& state, int64_t bytes, double seconds, double copy_seconds) {
  state.counters["GB/s"] = bytes / seconds * 1e-9;
  state.counters["memcpy_GB/s"] = bytes / copy_seconds * 1e-9;
  state.counters["share"] = copy_seconds / seconds;
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
  report(state, bytes, seconds, copy_seconds);
}

BENCHMARK(all_reduce_between_threads)
    ->ArgNames({"ranks", "bytes"})
    ->ArgsProduct({{2, 4}, {4 << 10, 1 << 20, 64 << 20}})
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);

/// Every rank runs this in step: the number of iterations is fixed. MPI's own all_reduce runs beside ours.
void all_reduce_between_processes(benchmark::State& state, Communicator& ranks) {
  const int64_t bytes = state.range(0);
  const at::Tensor tensor = at::ones({bytes / 4}, at::kFloat);
  const int rounds = bytes <= (1 << 20) ? 100 : 5;
  double seconds = 0, mpi_seconds = 0, copy_seconds = 0;
  for (auto _ : state) {
    seconds = best_seconds(ranks, rounds, [&] { ranks.all_reduce(tensor); });
    mpi_seconds = best_seconds(ranks, rounds, [&] {
      MPI_Allreduce(MPI_IN_PLACE, tensor.mutable_data_ptr(), static_cast<int>(tensor.numel()), MPI_FLOAT,
                    MPI_SUM, MPI_COMM_WORLD);
    });
    copy_seconds = memcpy_seconds(ranks, tensor);
    state.SetIterationTime(seconds);
  }
  report(state, bytes, seconds, copy_seconds);
  state.counters["MPI_GB/s"] = bytes / mpi_seconds * 1e-9;
}

class Silence : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

/// mpirun -n 2 comm_bench --mpi [bytes of staging memory; 0: the default, negative: messages]
int bench_mpi(int argc, char** argv) {
  MpiRuntime runtime;
  MpiOptions options;
  if (argc > 2) options.staging_bytes = std::atoll(argv[2]);
  if (options.staging_bytes < 0) options = {.shared_memory = false};
  const std::unique_ptr<Communicator> ranks = make_mpi_communicator(runtime, options);
  const std::string name = "all_reduce_between_processes/ranks:" + std::to_string(ranks->size());
  benchmark::RegisterBenchmark(name.c_str(), all_reduce_between_processes, std::ref(*ranks))
      ->ArgName("bytes")
      ->Arg(8)
      ->Arg(4 << 10)
      ->Arg(1 << 20)
      ->Arg(25 << 20)
      ->Arg(256 << 20)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
  int no_arguments = 1;
  benchmark::Initialize(&no_arguments, argv);
  Silence silence;
  if (ranks->rank() == 0) {
    benchmark::RunSpecifiedBenchmarks();
  } else {
    benchmark::RunSpecifiedBenchmarks(&silence);
  }
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
