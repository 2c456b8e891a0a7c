#include "label/preference_file.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "core/files.h"

namespace phalanx::label {
namespace {

std::string all_rows(const StandingAnswers& standing) {
  std::string text;
  for (const auto& [place, answer] : standing.by_time()) {
    if (is_choice(answer.verdict)) text += core::to_text(answer.row) + "\n";
  }
  return text;
}

}  // namespace

PreferenceFile::PreferenceFile(std::string path, const StandingAnswers& standing, bool has_journal)
    : path_(std::move(path)) {
  const std::string wanted = all_rows(standing);
  const bool exists = std::filesystem::exists(path_);
  const std::string found = exists ? core::read_file(path_, uint64_t{4} << 30) : "";
  if (!has_journal && !found.empty()) {
    core::fail(
        core::ExitCode::kBadInput,
        "{}: has rows already, but {}.journal, where answers are recorded, is missing or empty; name another "
        "--out",
        core::printable(path_), core::printable(path_));
  }
  if (!wanted.starts_with(found)) {
    const std::string backup = path_ + ".bak";
    core::write_file_atomic(backup, found);
    notice_ = fmt::format("{} did not hold what its journal says; it was written anew, the old one is {}",
                          path_, backup);
  }
  if (exists && found == wanted) {
    lines_ = std::make_unique<DurableLines>(path_);
  } else {
    write(wanted);
  }
}

void PreferenceFile::replace(const StandingAnswers& standing) {
  write(all_rows(standing));
}

void PreferenceFile::write(const std::string& content) {
  core::write_file_atomic(path_, content);
  lines_ = std::make_unique<DurableLines>(path_);
}

}  // namespace phalanx::label
