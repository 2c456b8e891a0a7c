#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace phalanx::core {

/// The section `run`: what belongs to the run as a whole.
struct RunOptions {
  std::string name = "run";
  std::string output_dir = "runs/run";
  int64_t seed = 17;
  std::string determinism = "reproducible";  // off | reproducible | mesh_invariant
  std::optional<int64_t> threads;            // per rank
};

}  // namespace phalanx::core
