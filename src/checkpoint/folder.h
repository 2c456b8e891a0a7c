#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// The names in a run's `checkpoints/` folder:
///     step_N                          committed (only a rename makes one)
///     step_N.<incarnation>.partial    being written, or left behind by a killed run
///     step_N.<incarnation>.rejected   found damaged by that incarnation, kept to be looked at
///     LEASE, LEASE.<incarnation>      who may commit (lease.h)
namespace phalanx::checkpoint {

enum class FolderKind { kCommitted, kPartial, kRejected };

struct StepFolder {
  FolderKind kind;
  int64_t step;
  int64_t incarnation;  ///< 0 for a committed one
  std::string name;
};

std::string step_name(int64_t step);
std::string partial_name(int64_t step, int64_t incarnation);
/// False for a name that is none of the three.
bool parse_step_folder(std::string_view name, StepFolder& folder);

/// The step folders in `checkpoints`, newest step first. An absent folder is an empty one.
std::vector<StepFolder> scan(const std::string& checkpoints);
std::vector<int64_t> committed_steps(const std::string& checkpoints);  ///< newest first

std::string join(const std::string& folder, std::string_view name);

/// Takes a damaged `step_N` out of the way; returns its new path.
std::string reject(const std::string& checkpoints, int64_t step, int64_t incarnation);

}  // namespace phalanx::checkpoint
