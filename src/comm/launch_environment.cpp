#include "comm/launch_environment.h"

#include <array>
#include <charconv>
#include <cstring>

#include "core/error.h"

namespace phalanx::comm {
namespace {

struct Names {
  const char* launcher;
  const char* rank;
  const char* size;
  const char* local_rank;
  const char* local_size;
};

constexpr std::array<Names, 4> kLaunchers = {{
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    {"MVAPICH", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK",
     "MV2_COMM_WORLD_LOCAL_SIZE"},
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
}};

std::optional<int> parse(const char* text) {
  int value = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || value < 0) return std::nullopt;
  return value;
}

std::optional<int> number(const GetVariable& get, const char* name) {
  const char* const text = get(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  const std::optional<int> value = parse(text);
  if (!value) {
    core::fail(core::ExitCode::kBadConfig,
               "environment: {} is \"{}\", it must be a whole number from 0; unset it or start "
               "the program by its launcher",
               name, core::printable(text));
  }
  return value;
}

LaunchEnvironment checked(LaunchEnvironment found) {
  if (found.rank >= found.size || found.local_rank >= found.local_size) {
    core::fail(core::ExitCode::kBadConfig,
               "environment: {} says rank {} of {}, local rank {} of {}; a rank must be below its size, "
               "unset the variables or "
               "start the program by its launcher",
               found.launcher, found.rank, found.size, found.local_rank, found.local_size);
  }
  return found;
}

std::optional<LaunchEnvironment> read(const GetVariable& get, const Names& names) {
  const std::optional<int> rank = number(get, names.rank);
  const std::optional<int> size = number(get, names.size);
  if (!rank || !size) return std::nullopt;
  const int local_rank = number(get, names.local_rank).value_or(0);
  return checked(
      {names.launcher, *rank, *size, local_rank, number(get, names.local_size).value_or(local_rank + 1)});
}

std::optional<LaunchEnvironment> read_slurm(const GetVariable& get) {
  if (get("SLURM_STEP_ID") == nullptr && get("SLURM_STEPID") == nullptr) return std::nullopt;
  const std::optional<int> rank = number(get, "SLURM_PROCID");
  std::optional<int> size = number(get, "SLURM_STEP_NUM_TASKS");
  if (!size) size = number(get, "SLURM_NTASKS");
  if (!size) size = number(get, "SLURM_NPROCS");
  const std::optional<int> local_rank = number(get, "SLURM_LOCALID");
  if (!rank || !size || !local_rank) return std::nullopt;
  std::optional<int> local_size;
  for (const char* name : {"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"}) {
    if (const char* const text = get(name); text != nullptr && !local_size) {
      local_size = slurm_tasks_on_node(text, number(get, "SLURM_NODEID").value_or(0));
    }
  }
  return checked({"Slurm", *rank, *size, *local_rank, local_size.value_or(*local_rank + 1)});
}

}  // namespace

std::optional<int> slurm_tasks_on_node(const std::string& text, int node) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    int tasks = 0, nodes = 1;
    auto [stop, error] = std::from_chars(at, end, tasks);
    if (error != std::errc()) return std::nullopt;
    if (end - stop > 2 && stop[0] == '(' && stop[1] == 'x') {
      const auto repeat = std::from_chars(stop + 2, end, nodes);
      if (repeat.ec != std::errc() || repeat.ptr == end || *repeat.ptr != ')') return std::nullopt;
      stop = repeat.ptr + 1;
    }
    if (node < nodes) return tasks;
    node -= nodes;
    if (stop < end && *stop != ',') return std::nullopt;
    at = stop + 1;
  }
  return std::nullopt;
}

LaunchEnvironment read_launch_environment(const GetVariable& get) {
  for (const Names& names : kLaunchers) {
    if (auto found = read(get, names)) return *found;
  }
  return read_slurm(get).value_or(LaunchEnvironment{});
}

}  // namespace phalanx::comm
