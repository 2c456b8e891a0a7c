#include "pipeline/planner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"

namespace phalanx::pipeline {
namespace {

namespace fs = std::filesystem;
using Reasons = std::vector<std::string>;

constexpr size_t kReasonsShown = 3;

std::string shown(const std::string& value) {
  return core::printable(value, 60);
}

void compare_values(const StageRecord& before, const StageRecord& next, Reasons& reasons) {
  for (const auto& [key, value] : next.values) {
    const auto old = before.values.find(key);
    if (old == before.values.end()) {
      reasons.push_back(fmt::format("{} is new: {}", key, shown(value)));
    } else if (old->second != value) {
      reasons.push_back(fmt::format("{} changed {} -> {}", key, shown(old->second), shown(value)));
    }
  }
  for (const auto& [key, value] : before.values) {
    if (!next.values.contains(key))
      reasons.push_back(fmt::format("{} was {} and is gone", key, shown(value)));
  }
}

/// "" for files whose names and contents are the same.
void compare_files(const FileStamps& before, const FileStamps& now, const std::string& words,
                   Reasons& reasons) {
  for (const auto& [path, stamp] : now) {
    const auto old = before.find(path);
    if (old == before.end()) {
      reasons.push_back(fmt::format("{}{} is new", words, path));
    } else if (old->second.hash != stamp.hash) {
      reasons.push_back(fmt::format("{}{} changed", words, path));
    }
  }
  for (const auto& [path, stamp] : before) {
    if (!now.contains(path)) reasons.push_back(fmt::format("{}{} is gone", words, path));
  }
}

/// Why a result of `before` is not what `next` would make.
Reasons differences(const StageRecord& before, const StageRecord& next) {
  Reasons reasons;
  if (before.program != next.program)
    reasons.push_back(fmt::format("the program's version changed {} -> {}", before.program, next.program));
  compare_values(before, next, reasons);
  compare_files(before.inputs, next.inputs, "", reasons);
  for (const auto& [stage, hash] : next.uses) {
    const auto old = before.uses.find(stage);
    if (old == before.uses.end()) {
      reasons.push_back(fmt::format("stage {} is used now", stage));
    } else if (old->second != hash) {
      reasons.push_back(fmt::format("the result of stage {} changed", stage));
    }
  }
  return reasons;
}

/// A folder that this pipeline did not make must not be emptied.
void refuse_foreign_folder(const Stage& stage) {
  if (!fs::exists(stage.folder) || (fs::is_directory(stage.folder) && fs::is_empty(stage.folder))) return;
  core::fail(core::ExitCode::kBadInput,
             "{}: is there already and was not made by a pipeline (it has no stage.json); remove it, or name "
             "another pipeline.output_dir",
             core::printable(stage.folder));
}

}  // namespace

FileStamps stamp_result(const Stage& stage, const FileStamps& known) {
  const std::string prefix = stage.folder + "/";
  FileStamps absolute, inside;
  for (const auto& [path, stamp] : known) absolute[prefix + path] = stamp;
  for (auto& [path, stamp] : stamp_files(stage.result_path(), absolute))
    inside[path.substr(prefix.size())] = stamp;
  return inside;
}

Planner::Planner(const Pipeline& pipeline, std::string program, const Selection& selection)
    : pipeline_(pipeline), program_(std::move(program)), selection_(selection) {
  if (!selection.from.empty()) from_ = pipeline.find(selection.from);
  if (!selection.only.empty()) only_ = pipeline.find(selection.only);
}

bool Planner::is_selected(size_t i) const {
  return selection_.only.empty() ? i >= from_ : i == only_;
}

StageRecord Planner::next_record(const Stage& stage, const std::optional<StageRecord>& before) {
  StageRecord next{.is_done = false, .program = program_, .values = stage.values()};
  if (before) known_.insert(before->inputs.begin(), before->inputs.end());
  for (const core::NamedPath& named : stage.named_paths()) {
    const bool is_outside =
        !is_made_up(named.path) && pipeline_.maker_of(stage, named.path) == pipeline_.stages.size();
    if (is_outside) next.inputs.merge(stamp_files(named.path, known_));
  }
  for (const auto& [path, stamp] : next.inputs) known_[path] = stamp;
  for (const size_t used : stage.uses) next.uses[pipeline_.stages[used].name] = result_of(used);
  return next;
}

std::string Planner::result_of(size_t i) {
  const auto found = read_record(pipeline_.stages[i].folder);
  return found && found->record ? found->record->result_hash() : "";
}

void Planner::refuse_stale(const Stage& stage) const {
  for (const size_t used : stage.uses) {
    const Decision& decision = decided_[used];
    if (!decision.is_selected && decision.runs)
      core::fail(
          core::ExitCode::kBadConfig,
          "{}: stage {} uses stage {}, which is not up to date ({}) and is not among those that were asked "
          "for; leave --only or --from out, or start with that one",
          core::printable(pipeline_.file), stage.name, pipeline_.stages[used].name,
          fmt::join(decision.reasons, "; "));
  }
}

Decision Planner::decide(size_t i, bool is_planning) {
  const Stage& stage = pipeline_.stages[i];
  const std::optional<FoundRecord> found = read_record(stage.folder);
  const std::optional<StageRecord> before = found ? found->record : std::nullopt;
  Decision decision{.is_selected = is_selected(i), .next = next_record(stage, before)};
  Reasons& reasons = decision.reasons;
  if (decision.is_selected && selection_.force) reasons.push_back("--force");
  if (!found) reasons.push_back("it has not run yet");
  if (found && !before) reasons.push_back(fmt::format("{} {}", record_path(stage.folder), found->damage));
  const Reasons changes = before ? differences(*before, decision.next) : Reasons();
  reasons.insert(reasons.end(), changes.begin(), changes.end());
  for (const size_t used : stage.uses) {
    if (is_planning && decided_[used].runs)
      reasons.push_back(fmt::format("stage {} runs", pipeline_.stages[used].name));
  }
  const bool is_same_work = before && reasons.empty();
  if (is_same_work && !before->is_done) reasons.push_back("it has not ended");
  if (is_same_work && before->is_done)
    compare_files(before->outputs, stamp_result(stage, before->outputs), "its result ", reasons);
  decision.runs = !reasons.empty();
  decision.resumes = decision.runs && is_same_work && stage.kind->resumes;
  if (decided_.size() <= i) decided_.resize(i + 1);
  decided_[i] = decision;
  if (!decision.is_selected) decision.runs = false;
  if (decision.is_selected) refuse_stale(stage);
  if (decision.runs && !found) refuse_foreign_folder(stage);
  return decision;
}

std::string describe(const Decision& decision) {
  if (!decision.is_selected) return "is not asked for";
  if (!decision.runs) return "is up to date";
  const std::vector<std::string>& all = decision.reasons;
  const Reasons first(all.begin(), all.begin() + static_cast<ptrdiff_t>(std::min(all.size(), kReasonsShown)));
  const std::string more =
      all.size() > kReasonsShown ? fmt::format(" and {} more", all.size() - kReasonsShown) : "";
  return fmt::format("{}: {}{}", decision.resumes ? "goes on" : "runs", fmt::join(first, "; "), more);
}

}  // namespace phalanx::pipeline
