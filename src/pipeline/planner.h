#pragma once
#include <optional>
#include <string>
#include <vector>

#include "pipeline/pipeline_file.h"
#include "pipeline/stage_record.h"

namespace phalanx::pipeline {

/// Which stages are looked at, and whether they run in any case.
struct Selection {
  std::string from = {};  ///< this one and those behind it; empty: all
  std::string only = {};  ///< this one alone
  bool force = false;
};

struct Decision {
  bool is_selected = true;
  bool runs = false;
  bool resumes = false;                   ///< goes on in its folder, which was working on the same thing
  std::vector<std::string> reasons = {};  ///< of a stage that runs: "method.beta changed 0.1 -> 0.2"
  StageRecord next = {};                  ///< what it runs with
};

/// Decides about stages in their order. A stage runs if it never did; if it has not ended; if a value, the
/// content of a file that it reads, the program's version or the result of a stage that it uses is not what
/// it was; if its own result is not there as it was written; or by force.
class Planner {
 public:
  /// @throws core::Error (78) for a selection that names no stage.
  Planner(const Pipeline& pipeline, std::string program, const Selection& selection);

  /// What is to be done about stage i. Those before it have been decided. Where `is_planning`, stages that
  /// run have not run yet: "stage sft runs" is then a reason.
  /// @throws core::Error (78) if it is selected but uses a stage that is not and is not up to date; (65) for
  /// a folder with other people's files.
  Decision decide(size_t i, bool is_planning);

 private:
  bool is_selected(size_t i) const;
  StageRecord next_record(const Stage& stage, const std::optional<StageRecord>& before);
  std::string result_of(size_t i);
  void refuse_stale(const Stage& stage) const;

  const Pipeline& pipeline_;
  std::string program_;
  Selection selection_;
  size_t from_ = 0, only_ = 0;
  std::vector<Decision> decided_;
  FileStamps known_;  // files that several stages read are hashed once
};

/// "is up to date", "runs: a; b; c and 2 more", "goes on where it stopped".
std::string describe(const Decision& decision);

/// The result of a stage as it is on disk, by path inside its folder. @param known  from its record.
FileStamps stamp_result(const Stage& stage, const FileStamps& known);

}  // namespace phalanx::pipeline
