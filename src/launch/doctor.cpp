#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <torch/version.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "comm/mpi_runtime.h"
#include "comm/run_ranks.h"
#include "core/config.h"
#include "core/error.h"
#include "core/files.h"
#include "core/memory.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/self_start.h"
#include "trainer/training_run.h"

namespace phalanx::launch {
namespace {

void print(const char* what, const std::string& value) {
  std::printf("%-14s %s\n", what, value.c_str());
}

std::string instruction_sets() {
  std::string sets;
  if (__builtin_cpu_supports("avx2")) sets += "avx2 ";
  if (__builtin_cpu_supports("avx512f")) sets += "avx512f ";
  if (__builtin_cpu_supports("avx512bf16")) sets += "avx512_bf16 ";
  return sets.empty() ? "none that are used" : sets;
}

/// One all_reduce of ones must count the ranks.
void check_sum(comm::Communicator& group) {
  at::Tensor ones = at::ones({1024}, at::kFloat);
  group.all_reduce(ones);
  if (ones.sum().item<double>() != 1024.0 * group.size())
    core::fail(core::ExitCode::kBug, "an all_reduce over {} ranks gave a wrong sum", group.size());
}

int doctor() {
  print("phalanx", program_path());
  print("cores", fmt::format("{} ({})", std::thread::hardware_concurrency(), instruction_sets()));
  print("memory", fmt::format("{:.1f} GiB, {:.1f} GiB free",
                              static_cast<double>(core::total_memory_bytes()) / (1 << 30),
                              static_cast<double>(core::available_memory_bytes()) / (1 << 30)));
  print("disk",
        fmt::format("{:.1f} GiB free here", static_cast<double>(core::free_space_bytes(".")) / (1 << 30)));
  print("LibTorch", fmt::format("{}, {} thread(s)", TORCH_VERSION, at::get_num_threads()));
  print("precision", c10::toString(trainer::compute_dtype("auto")));
  print("MPI", comm::MpiRuntime::library_version());
#ifdef PHALANX_CUDA
  print("GPU", "compiled in");
#else
  print("GPU", "not compiled in (preset cuda)");
#endif
  comm::run_ranks(2, check_sum);
  print("threads", "2 in-process ranks agree");
  std::fflush(stdout);
  return start_ranks(2);  // this command again, as two ranks: the branch below
}

int doctor_rank() {
  comm::MpiRuntime mpi;
  auto group = comm::make_mpi_communicator(mpi);
  check_sum(*group);
  if (mpi.rank() == 0) print("mpirun", fmt::format("{} ranks agree", mpi.size()));
  return 0;
}

const bool doctor_registered = register_command(
    {"doctor", "Shows what this machine has and runs a self-test over 2 ranks", [](CLI::App&) {
       return [] {
         return environment("OMPI_COMM_WORLD_SIZE") || environment("PMIX_RANK") ? doctor_rank() : doctor();
       };
     }});

int write_docs(const std::string& folder) {
  core::make_directories(folder);
  core::write_file_atomic(folder + "/config.md", core::config_markdown());
  core::write_file_atomic(folder + "/config.schema.json", core::config_json_schema());
  return 0;
}

const bool docs_registered = register_command(
    {"docs", "Writes config.md and config.schema.json, generated from the config's declarations",
     [](CLI::App& app) {
       auto folder = std::make_shared<std::string>("docs");
       app.add_option("folder", *folder, "Where to; default docs");
       return [folder] { return write_docs(*folder); };
     }});

}  // namespace
}  // namespace phalanx::launch
