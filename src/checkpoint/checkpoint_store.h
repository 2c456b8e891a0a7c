#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_options.h"
#include "checkpoint/lease.h"
#include "checkpoint/load.h"
#include "checkpoint/manifest.h"
#include "checkpoint/save.h"
#include "checkpoint/verify.h"
#include "comm/communicator.h"

namespace phalanx::checkpoint {

/// A checkpoint that was verified to the last byte.
struct Found {
  std::string path;
  Manifest manifest;
};

/// What became of a save; the same on every rank.
struct SaveResult {
  bool committed = false;
  std::string path;     ///< of the committed checkpoint
  std::string message;  ///< if not committed: why, with the bytes needed and free. One line for the log
  uint64_t tensor_bytes = 0;
  double seconds = 0;
};

/// The newest whole checkpoint that `path` means (a run, a checkpoints/ folder, one step), for commands that
/// only read. A damaged newer one is passed over with a line to `log` unless `path` names it. Collective.
/// @throws core::Error (65).
Found open_newest(comm::Communicator& ranks, const std::string& path,
                  const std::function<void(const std::string&)>& log);

/// The checkpoints of one training run: holds its lease, finds where to resume, saves, keeps the folder
/// small. Every method is collective over `ranks`. `log` is called on rank 0 only, with one line.
class CheckpointStore {
 public:
  /// Creates the folder, takes the lease and removes what killed lives left half-written.
  /// @throws core::Error (77) if another living process uses the folder; 74 if it cannot be written.
  CheckpointStore(comm::Communicator& ranks, std::string checkpoints, CheckpointOptions options,
                  std::function<void(const std::string&)> log);

  /// Where to continue, by `checkpoint.resume`: the newest whole checkpoint, or nothing for a fresh start. A
  /// damaged one is named in the log and moved to step_N.<incarnation>.rejected (with `strict`: core::Error
  /// 65).
  std::optional<Found> find_resume();

  /// Saves `state` as step_N. A storage failure is a result, so that training goes on and tries again at the
  /// next interval.
  /// @throws core::Error: 74 after three failures in a row, 76 for NaN or infinity or replicas that differ,
  /// 77 if another
  ///         incarnation has taken over, 70 for a wrong `state`.
  SaveResult save(const State& state, int64_t step);

  /// Saves where there is no next interval (the last step, or a run that was asked to stop): tries again at
  /// once.
  /// @throws as save(): the third failure in a row is an error (74), so that a run never ends as if its state
  /// were safe.
  SaveResult save_last(const State& state, int64_t step);

  int64_t incarnation() const { return incarnation_; }
  const std::string& folder() const { return checkpoints_; }

 private:
  bool is_committed(int64_t step);
  void reject_damaged(const Verdict& verdict, int64_t step);
  SaveResult missed(const std::string& message, int64_t step);
  void prune_old();

  comm::Communicator& ranks_;
  std::string checkpoints_;
  CheckpointOptions options_;
  std::function<void(const std::string&)> log_;
  std::unique_ptr<Lease> lease_;  // rank 0
  int64_t incarnation_ = 0;
  int64_t num_misses_ = 0;      // in a row
  std::set<int64_t> verified_;  // steps that this process wrote or verified
};

}  // namespace phalanx::checkpoint
