#include "checkpoint/checkpoint_store.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "checkpoint/agreement.h"
#include "checkpoint/folder.h"
#include "checkpoint/prune.h"
#include "checkpoint/storage.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

constexpr int64_t kMaxMisses = 3;

using Log = std::function<void(const std::string&)>;

void log_problems(comm::Communicator& ranks, const Log& log, const Verdict& verdict) {
  if (ranks.rank() != 0 || !log) return;
  for (const std::string& problem : verdict.problems) log(fmt::format("damaged checkpoint: {}", problem));
}

[[noreturn]] void refuse(const Verdict& verdict) {
  core::fail(core::ExitCode::kBadInput, "{}; this checkpoint is damaged, use an older one",
             verdict.problems.front());
}

/// Reads the folder on rank 0 alone, so that all ranks go through the same list.
std::vector<int64_t> agreed_steps(comm::Communicator& ranks, const std::string& checkpoints) {
  std::string text;
  agree(ranks, "scan", [&] {
    if (ranks.rank() == 0) text = nlohmann::json(committed_steps(checkpoints)).dump();
  });
  return nlohmann::json::parse(ranks.broadcast_string(text)).get<std::vector<int64_t>>();
}

/// True if damaged checkpoints are all that is left of an earlier life: starting from nothing would hide
/// that.
bool has_rejected(comm::Communicator& ranks, const std::string& checkpoints) {
  bool found = false;
  agree(ranks, "scan", [&] {
    if (ranks.rank() != 0) return;
    for (const StepFolder& folder : scan(checkpoints)) found = found || folder.kind == FolderKind::kRejected;
  });
  return ranks.all_reduce_scalar(int64_t{found}, comm::ReduceOp::kMax) != 0;
}

std::vector<std::string> agreed_checkpoints(comm::Communicator& ranks, const std::string& path) {
  std::string text;
  agree(ranks, "scan", [&] {
    if (ranks.rank() == 0) text = nlohmann::json(find_checkpoints(path)).dump();
  });
  return nlohmann::json::parse(ranks.broadcast_string(text)).get<std::vector<std::string>>();
}

}  // namespace

Found open_newest(comm::Communicator& ranks, const std::string& path, const Log& log) {
  const std::vector<std::string> candidates = agreed_checkpoints(ranks, path);
  for (const std::string& candidate : candidates) {
    Verdict verdict = verify_checkpoint(ranks, candidate);
    if (verdict.ok()) return {candidate, std::move(*verdict.manifest)};
    if (candidates.size() == 1) refuse(verdict);
    log_problems(ranks, log, verdict);
  }
  core::fail(core::ExitCode::kBadInput,
             "{}: none of its {} checkpoints is whole; phalanx verify checkpoint names the damage",
             core::printable(path), candidates.size());
}

CheckpointStore::CheckpointStore(comm::Communicator& ranks, std::string checkpoints,
                                 CheckpointOptions options, Log log)
    : ranks_(ranks),
      checkpoints_(std::move(checkpoints)),
      options_(std::move(options)),
      log_(std::move(log)) {
  agree(ranks_, "checkpoint folder", [&] {
    if (ranks_.rank() != 0) return;
    make_folders(checkpoints_);
    lease_ = std::make_unique<Lease>(Lease::take(checkpoints_));
    incarnation_ = lease_->incarnation();
    if (log_ && !lease_->notice().empty()) log_(lease_->notice());
    remove_partial_folders(checkpoints_, incarnation_);
  });
  incarnation_ = std::stoll(ranks_.broadcast_string(std::to_string(incarnation_)));
}

std::optional<Found> CheckpointStore::find_resume() {
  const std::vector<int64_t> steps = agreed_steps(ranks_, checkpoints_);
  if (options_.resume == "never" && !steps.empty()) {
    core::fail(core::ExitCode::kBadConfig,
               "checkpoint.resume is never but {} already holds {}; use checkpoint.resume: auto to continue, "
               "choose another "
               "run.output_dir, or remove that folder",
               checkpoints_, step_name(steps.front()));
  }
  for (const int64_t step : steps) {
    const std::string path = join(checkpoints_, step_name(step));
    Verdict verdict = verify_checkpoint(ranks_, path);
    if (verdict.ok()) {
      verified_.insert(step);
      return Found{path, std::move(*verdict.manifest)};
    }
    if (options_.strict) refuse(verdict);
    reject_damaged(verdict, step);
  }
  const bool has_path = options_.resume != "auto" && options_.resume != "never" && options_.resume != "must";
  if (has_path) return open_newest(ranks_, options_.resume, log_);
  if (options_.resume == "must" || has_rejected(ranks_, checkpoints_)) {
    core::fail(core::ExitCode::kBadInput,
               "{}: {}; to begin again choose another run.output_dir or remove that folder, or give "
               "checkpoint.resume a path",
               checkpoints_,
               options_.resume == "must" ? "checkpoint.resume is must but no whole checkpoint is there"
                                         : "every checkpoint in it was damaged and moved aside");
  }
  return std::nullopt;
}

SaveResult CheckpointStore::save(const State& state, int64_t step) {
  const std::string path = join(checkpoints_, step_name(step));
  if (is_committed(step)) return {.committed = true, .path = path, .message = {}};
  try {
    const Saved saved = checkpoint::save(ranks_, state,
                                         {.checkpoints = checkpoints_,
                                          .step = step,
                                          .incarnation = incarnation_,
                                          .lease = lease_.get(),
                                          .spare_bytes = options_.spare_bytes});
    num_misses_ = 0;
    verified_.insert(step);
    prune_old();
    return {.committed = true,
            .path = path,
            .message = {},
            .tensor_bytes = saved.tensor_bytes,
            .seconds = saved.seconds};
  } catch (const PhaseFailed& failure) {
    if (failure.code() != core::ExitCode::kStorage) throw;
    return missed(failure.what(), step);
  }
}

SaveResult CheckpointStore::save_last(const State& state, int64_t step) {
  SaveResult result;
  do result = save(state, step);
  while (!result.committed);  // ends: save() throws at the third miss
  return result;
}

/// A run that stops right after it was resumed saves a step that exists: it is kept if it is whole.
bool CheckpointStore::is_committed(int64_t step) {
  const std::vector<int64_t> steps = agreed_steps(ranks_, checkpoints_);
  if (std::find(steps.begin(), steps.end(), step) == steps.end()) return false;
  if (verified_.count(step) != 0) return true;
  const Verdict verdict = verify_checkpoint(ranks_, join(checkpoints_, step_name(step)));
  if (!verdict.ok()) {
    reject_damaged(verdict, step);
    return false;
  }
  verified_.insert(step);
  return true;
}

void CheckpointStore::reject_damaged(const Verdict& verdict, int64_t step) {
  log_problems(ranks_, log_, verdict);
  agree(ranks_, "moving a damaged checkpoint aside", [&] {
    if (ranks_.rank() != 0) return;
    lease_->check_still_held();
    const std::string moved = reject(checkpoints_, step, incarnation_);
    if (log_) log_(fmt::format("{} moved to {}; using the checkpoint before it", verdict.path, moved));
  });
}

SaveResult CheckpointStore::missed(const std::string& message, int64_t step) {
  ++num_misses_;
  if (num_misses_ >= kMaxMisses) {
    core::fail(core::ExitCode::kStorage,
               "{}: step {} could not be saved, the third time in a row: {}; make room and start again",
               checkpoints_, step, message);
  }
  SaveResult result;
  result.message =
      fmt::format("step {} was not saved (miss {} of {}): {}", step, num_misses_, kMaxMisses, message);
  if (ranks_.rank() == 0 && log_) log_(result.message);
  return result;
}

/// A failure here costs only space; the next save tries again.
void CheckpointStore::prune_old() {
  if (ranks_.rank() != 0) return;
  try {
    prune(checkpoints_, options_.keep_last, verified_, incarnation_);
  } catch (const std::exception& error) {
    if (log_) log_(fmt::format("old checkpoints were not removed: {}", error.what()));
  }
}

}  // namespace phalanx::checkpoint
