#include "launch/pipeline_run.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "launch/command_line.h"
#include "launch/folder_lock.h"
#include "launch/process.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
using pipeline::Decision;
using pipeline::Pipeline;
using pipeline::Stage;
using pipeline::StageRecord;
using Clock = std::chrono::steady_clock;

constexpr int kDone = static_cast<int>(ExitCode::kDone);
constexpr int kStopped = static_cast<int>(ExitCode::kStopped);

/// Everything but stage.json, which says whose folder it is until a new one takes its place.
void empty_folder(const Stage& stage) {
  const std::string record = pipeline::record_path(stage.folder);
  for (const fs::directory_entry& entry : fs::directory_iterator(stage.folder)) {
    if (entry.path() != record) fs::remove_all(entry.path());
  }
}

/// Work of people is put aside, never removed.
void put_aside(const Stage& stage) {
  for (int number = 1;; ++number) {
    const std::string aside = fmt::format("{}.before-{}", stage.folder, number);
    if (fs::exists(aside)) continue;
    fs::rename(stage.folder, aside);
    core::log_warning("{}: other questions than before; what was answered is kept in {}", stage.folder,
                      aside);
    return;
  }
}

/// Labelling goes on as long as it is about the same things.
bool keeps_folder(const Stage& stage, const Decision& decision) {
  if (decision.resumes) return true;
  if (!stage.kind->keeps_work) return false;
  const auto before = pipeline::read_record(stage.folder);
  return before && before->record && before->record->inputs == decision.next.inputs &&
         before->record->uses == decision.next.uses;
}

void prepare_folder(const Stage& stage, const Decision& decision) {
  if (fs::exists(stage.folder) && !keeps_folder(stage, decision)) {
    stage.kind->keeps_work ? put_aside(stage) : empty_folder(stage);
  }
  core::make_directories(stage.folder);
  pipeline::write_record(stage.folder, decision.next);
}

std::vector<std::string> stage_command(const Pipeline& pipeline, const Stage& stage) {
  std::vector<std::string> words = {program_path(), "pipeline", pipeline.file, "--run-stage", stage.name};
  for (const std::string& set : pipeline.sets) words.insert(words.end(), {"--set", set});
  return words;
}

void record_result(const Stage& stage, StageRecord record, double seconds) {
  record.outputs = pipeline::stamp_result(stage, {});
  if (record.outputs.empty())
    core::fail(ExitCode::kBug, "{}: stage {} ended well but left no result", stage.result_path(), stage.name);
  record.is_done = true;
  record.seconds = seconds;
  pipeline::write_record(stage.folder, record);
}

int run_one(const Pipeline& pipeline, const Stage& stage, const Decision& decision) {
  prepare_folder(stage, decision);
  const Clock::time_point start = Clock::now();
  const int code = run_process(stage_command(pipeline, stage), SIGINT);
  if (code != kDone) {
    core::log_note("stage {} ended with exit code {}; the same command goes on there", stage.name, code);
    return code;
  }
  record_result(stage, decision.next, std::chrono::duration<double>(Clock::now() - start).count());
  return kDone;
}

}  // namespace

int run_pipeline(const Pipeline& pipeline, const pipeline::Selection& selection) {
  pipeline.check_inputs();
  pipeline::Planner planner(pipeline, program_version(), selection);
  core::make_directories(pipeline.output_dir);
  const FolderLock lock(pipeline.output_dir);
  for (size_t i = 0; i < pipeline.stages.size(); ++i) {
    const Stage& stage = pipeline.stages[i];
    const Decision decision = planner.decide(i, /*is_planning=*/false);
    core::log_note("stage {} ({} of {}) {}", stage.name, i + 1, pipeline.stages.size(), describe(decision));
    if (!decision.runs) continue;
    const int code = run_one(pipeline, stage, decision);
    if (code != kDone) return code;
    const bool is_last = i + 1 == pipeline.stages.size();
    if (was_interrupted() && !is_last) return kStopped;
  }
  return kDone;
}

int run_stage(const Pipeline& pipeline, const std::string& name) {
  const Stage& stage = pipeline.stages[pipeline.find(name)];
  const auto found = pipeline::read_record(stage.folder);
  if (!found || !found->record || found->record->is_done)
    core::fail(ExitCode::kBadConfig,
               "{}: has not begun; start the pipeline without --run-stage, or with --only {}",
               core::printable(stage.folder), name);
  if (found->record->values != stage.values())
    core::fail(ExitCode::kBadConfig,
               "{}: stage {} is not what it was when the pipeline was started; start it again",
               core::printable(pipeline.file), name);
  return stage.kind->run(stage);
}

std::string dry_run_text(const Pipeline& pipeline, const pipeline::Selection& selection) {
  pipeline.check_inputs();
  pipeline::Planner planner(pipeline, program_version(), selection);
  size_t width = 0;
  for (const Stage& stage : pipeline.stages) width = std::max(width, stage.name.size());
  std::string text;
  for (size_t i = 0; i < pipeline.stages.size(); ++i) {
    const Decision decision = planner.decide(i, /*is_planning=*/true);
    text += fmt::format("{:<{}}  {}\n", pipeline.stages[i].name, width, describe(decision));
  }
  return text;
}

std::string resolved_text(const Pipeline& pipeline) {
  std::string text;
  for (const Stage& stage : pipeline.stages) {
    text += fmt::format("{}:\n", stage.name);
    for (const auto& [key, value] : stage.values()) text += fmt::format("  {}: {}\n", key, value);
  }
  return text;
}

}  // namespace phalanx::launch
