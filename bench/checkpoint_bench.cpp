// Checkpoint write and read next to what the same disk gives to a plain loop in the same run. Set
// PHALANX_BENCH_FOLDER to choose the disk and PHALANX_BENCH_MIB the size (default 2048); every figure is the
// median of repetitions if asked for.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "checkpoint/load.h"
#include "checkpoint/save.h"
#include "checkpoint/storage.h"
#include "checkpoint/verify.h"
#include "comm/run_ranks.h"

namespace {

using namespace phalanx;
namespace fs = std::filesystem;

int64_t bench_mib() {
  const char* text = std::getenv("PHALANX_BENCH_MIB");
  return text != nullptr ? std::atoll(text) : 2048;
}

struct Folder {
  Folder() {
    const char* base = std::getenv("PHALANX_BENCH_FOLDER");
    path = std::string(base != nullptr ? base : fs::temp_directory_path().string()) +
           "/phalanx_checkpoint_bench";
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
};

/// Tensors of 16 MiB, as a model's larger weights.
checkpoint::State large_state(int64_t mib) {
  checkpoint::State state;
  for (int64_t i = 0; i < mib / 16; ++i) {
    state.tensors.push_back(checkpoint::whole_tensor("t" + std::to_string(i),
                                                     at::full({4096, 1024}, 0.5 + static_cast<double>(i))));
  }
  state.scalars = {{"step", 1}};
  return state;
}

/// The LoRA adapters of a 135M-parameter model with their two moments: 30 layers of 7 products, rank 16.
checkpoint::State lora_state() {
  checkpoint::State state;
  const std::pair<int64_t, int64_t> products[] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                                  {1536, 576}, {1536, 576}, {576, 1536}};
  for (const char* kind : {"model", "optimizer.exp_avg", "optimizer.exp_avg_sq"}) {
    for (int layer = 0; layer < 30; ++layer) {
      for (int p = 0; p < 7; ++p) {
        const std::string name =
            std::string(kind) + ".layers." + std::to_string(layer) + ".product_" + std::to_string(p);
        state.tensors.push_back(
            checkpoint::whole_tensor(name + ".lora_A", at::rand({16, products[p].second})));
        state.tensors.push_back(
            checkpoint::whole_tensor(name + ".lora_B", at::rand({products[p].first, 16})));
      }
    }
  }
  state.scalars = {{"step", 1}};
  return state;
}

void forget_cache(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  if (descriptor < 0) return;
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  ::close(descriptor);
}

void raw_write(const std::string& path, const checkpoint::State& state) {
  checkpoint::File file(path, checkpoint::File::Mode::kCreateNew);
  uint64_t place = 0;
  for (const auto& slice : state.tensors) {
    file.write_at(place, slice.local.data_ptr(), slice.local.nbytes());
    place += slice.local.nbytes();
  }
  file.sync();
}

void raw_read(const std::string& path, const checkpoint::State& state) {
  const checkpoint::File file(path, checkpoint::File::Mode::kRead);
  uint64_t place = 0;
  for (const auto& slice : state.tensors) {
    file.read_at(place, slice.local.data_ptr(), slice.local.nbytes());
    place += slice.local.nbytes();
  }
}

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void save_with_ranks(const std::string& folder, int num_ranks, const checkpoint::State& state, int64_t step) {
  comm::run_ranks(
      num_ranks,
      [&](comm::Communicator& ranks) {
        checkpoint::save(ranks, state, {.checkpoints = folder, .step = step, .incarnation = 1});
      },
      600.0);
}

/// One iteration is a raw write+fsync and a save of the same bytes, one after the other, so that a slow
/// minute of the disk hits both.
void BM_Save(benchmark::State& bench) {
  const Folder folder;
  const checkpoint::State state = large_state(bench_mib());
  const double gigabytes = static_cast<double>(bench_mib()) * (1 << 20) / 1e9;
  double raw = 0, ours = 0;
  int64_t step = 0;
  for (auto _ : bench) {
    const std::string file = folder.path + "/raw";
    raw += seconds_of([&] { raw_write(file, state); });
    fs::remove(file);
    const double seconds =
        seconds_of([&] { save_with_ranks(folder.path, static_cast<int>(bench.range(0)), state, ++step); });
    fs::remove_all(folder.path + "/step_" + std::to_string(step));
    ours += seconds;
    bench.SetIterationTime(seconds);
  }
  const auto count = static_cast<double>(bench.iterations());
  bench.counters["GB/s"] = gigabytes * count / ours;
  bench.counters["raw_GB/s"] = gigabytes * count / raw;
  bench.counters["share_of_raw"] = raw / ours;
}
BENCHMARK(BM_Save)->ArgName("ranks")->Arg(1)->Arg(2)->UseManualTime()->Iterations(3)->Unit(
    benchmark::kMillisecond);

/// Verify and load, warm or from the disk, against reading the shard files plainly.
void BM_Load(benchmark::State& bench) {
  const Folder folder;
  const checkpoint::State state = large_state(bench_mib());
  const bool cold = bench.range(0) != 0;
  save_with_ranks(folder.path, 1, state, 1);
  const std::string path = folder.path + "/step_1", shard = path + "/shard_0.h5";
  const auto single = comm::make_single_communicator();
  const double gigabytes = static_cast<double>(bench_mib()) * (1 << 20) / 1e9;
  double raw = 0, ours = 0;
  for (auto _ : bench) {
    if (cold) forget_cache(shard);
    raw += seconds_of([&] { raw_read(shard, state); });
    if (cold) forget_cache(shard);
    const double seconds = seconds_of([&] {
      const checkpoint::Verdict verdict = checkpoint::verify_checkpoint(*single, path);
      checkpoint::load(*single, path, *verdict.manifest, state.tensors);
    });
    ours += seconds;
    bench.SetIterationTime(seconds);
  }
  const auto count = static_cast<double>(bench.iterations());
  bench.counters["GB/s"] = gigabytes * count / ours;
  bench.counters["raw_GB/s"] = gigabytes * count / raw;
  bench.counters["share_of_raw"] = raw / ours;
}
BENCHMARK(BM_Load)->ArgName("cold")->Arg(0)->Arg(1)->UseManualTime()->Iterations(3)->Unit(
    benchmark::kMillisecond);

void BM_SaveLora(benchmark::State& bench) {
  const Folder folder;
  const checkpoint::State state = lora_state();
  int64_t step = 0;
  for (auto _ : bench) save_with_ranks(folder.path, 2, state, ++step);
}
BENCHMARK(BM_SaveLora)->Iterations(5)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_LoadLora(benchmark::State& bench) {
  const Folder folder;
  const checkpoint::State state = lora_state();
  save_with_ranks(folder.path, 2, state, 1);
  const auto single = comm::make_single_communicator();
  for (auto _ : bench) {
    const checkpoint::Verdict verdict = checkpoint::verify_checkpoint(*single, folder.path + "/step_1");
    checkpoint::load(*single, verdict.path, *verdict.manifest, state.tensors);
  }
}
BENCHMARK(BM_LoadLora)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
