#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace phalanx::checkpoint {

/// Removes committed checkpoints beyond the newest `keep_last` (0 keeps all). `verified` are the steps that
/// this process has written or loaded and so knows to be whole: the newest two of them always stay, and
/// nothing goes before there are two. A folder is renamed to a partial one first, so that a kill in between
/// leaves nothing that looks committed.
/// @return  the steps removed, for the log. @throws StorageError.
std::vector<int64_t> prune(const std::string& checkpoints, int64_t keep_last,
                           const std::set<int64_t>& verified, int64_t incarnation);

/// Start-up: removes what killed lives left half-written (every partial folder of another incarnation).
void remove_partial_folders(const std::string& checkpoints, int64_t incarnation);

}  // namespace phalanx::checkpoint
