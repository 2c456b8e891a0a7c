#include "checkpoint/folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "checkpoint/storage.h"

namespace phalanx::checkpoint {

namespace {

/// A number as we write it: digits only, no leading zero.
bool take_number(std::string_view& text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return false;
  if (fmt::format("{}", value) != std::string_view(text.data(), static_cast<size_t>(end - text.data())))
    return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::string step_name(int64_t step) {
  return fmt::format("step_{}", step);
}
std::string partial_name(int64_t step, int64_t incarnation) {
  return fmt::format("step_{}.{}.partial", step, incarnation);
}

bool parse_step_folder(std::string_view name, StepFolder& folder) {
  std::string_view rest = name;
  folder = {.kind = FolderKind::kCommitted, .step = 0, .incarnation = 0, .name = std::string(name)};
  if (!take(rest, "step_") || !take_number(rest, folder.step)) return false;
  if (rest.empty()) return true;
  if (!take(rest, ".") || !take_number(rest, folder.incarnation)) return false;
  if (rest == ".partial") {
    folder.kind = FolderKind::kPartial;
    return true;
  }
  folder.kind = FolderKind::kRejected;
  int64_t again = 0;
  return take(rest, ".rejected") &&
         (rest.empty() || (take(rest, ".") && take_number(rest, again) && rest.empty()));
}

std::vector<StepFolder> scan(const std::string& checkpoints) {
  std::vector<StepFolder> folders;
  if (!exists(checkpoints)) return folders;
  for (const Entry& entry : list(checkpoints)) {
    StepFolder folder;
    if (entry.is_folder && parse_step_folder(entry.name, folder)) folders.push_back(folder);
  }
  std::stable_sort(folders.begin(), folders.end(),
                   [](const StepFolder& a, const StepFolder& b) { return a.step > b.step; });
  return folders;
}

std::vector<int64_t> committed_steps(const std::string& checkpoints) {
  std::vector<int64_t> steps;
  for (const StepFolder& folder : scan(checkpoints)) {
    if (folder.kind == FolderKind::kCommitted) steps.push_back(folder.step);
  }
  return steps;
}

std::string join(const std::string& folder, std::string_view name) {
  if (folder.empty()) return std::string(name);
  return folder.back() == '/' ? fmt::format("{}{}", folder, name) : fmt::format("{}/{}", folder, name);
}

std::string reject(const std::string& checkpoints, int64_t step, int64_t incarnation) {
  const std::string from = join(checkpoints, step_name(step));
  const std::string base = join(checkpoints, fmt::format("step_{}.{}.rejected", step, incarnation));
  std::string to = base;
  for (int again = 2;; ++again) {
    try {
      rename_new(from, to);
      break;
    } catch (const StorageError& error) {
      if (error.error() != EEXIST || again > 1000) throw;
      to = fmt::format("{}.{}", base, again);
    }
  }
  sync_folder(checkpoints);
  return to;
}

}  // namespace phalanx::checkpoint
