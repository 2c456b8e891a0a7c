#pragma once
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "comm/communicator.h"

namespace phalanx::checkpoint {

/// What was found out about one checkpoint folder; the same on every rank that took part.
struct Verdict {
  std::string path;
  std::optional<Manifest> manifest;   ///< only if nothing is wrong
  std::vector<std::string> problems;  ///< one line each: file, tensor, place
  uint64_t size_bytes = 0;            ///< of all files that the manifest lists
  double seconds = 0;

  bool ok() const { return problems.empty(); }
};

/// Checks every byte of a checkpoint before any of it is used: the manifest against its digest, the folder
/// against the manifest's list, every block of every file against its digest (the ranks share the blocks). A
/// folder named step_N must hold step N. Damage is a result, not an exception. Collective.
/// @param num_threads  per rank; 0: as many as LibTorch computes with
Verdict verify_checkpoint(comm::Communicator& ranks, const std::string& path, int num_threads = 0);

/// The step folders that `path` means, newest first: a step folder itself, a checkpoints/ folder, a run's
/// output_dir.
/// @throws core::Error (65) if it holds none.
std::vector<std::string> find_checkpoints(const std::string& path);

/// `phalanx verify checkpoint PATH`: one line for each checkpoint, and one for each problem, on `out`.
/// @throws core::Error (65) naming the first problem if any checkpoint is damaged.
void verify_command(const std::string& path, std::ostream& out);

}  // namespace phalanx::checkpoint
