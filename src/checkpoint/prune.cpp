#include "checkpoint/prune.h"

#include <algorithm>

#include "checkpoint/folder.h"
#include "checkpoint/storage.h"

namespace phalanx::checkpoint {

std::vector<int64_t> prune(const std::string& checkpoints, int64_t keep_last,
                           const std::set<int64_t>& verified, int64_t incarnation) {
  std::vector<int64_t> removed;
  const std::vector<int64_t> steps = committed_steps(checkpoints);  // newest first
  int64_t num_verified = 0;
  for (size_t i = 0; keep_last > 0 && i < steps.size(); ++i) {
    const bool is_old = i >= static_cast<size_t>(keep_last) && num_verified >= 2;
    if (verified.count(steps[i]) != 0) ++num_verified;
    if (!is_old) continue;
    const std::string going = join(checkpoints, partial_name(steps[i], incarnation));
    rename_new(join(checkpoints, step_name(steps[i])), going);
    remove_tree(going);
    removed.push_back(steps[i]);
  }
  return removed;
}

void remove_partial_folders(const std::string& checkpoints, int64_t incarnation) {
  for (const StepFolder& folder : scan(checkpoints)) {
    if (folder.kind == FolderKind::kPartial && folder.incarnation != incarnation)
      remove_tree(join(checkpoints, folder.name));
  }
}

}  // namespace phalanx::checkpoint
