#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/record_reader.h"

namespace phalanx::data {

/// One made-up question: a prompt record {"prompt": [user message], "ground_truth", "task"}, and "numbers"
/// where the answer must be made of given ones.
struct TaskQuestion {
  std::string question, ground_truth;
  std::vector<int64_t> numbers = {};
};

/// A generator of questions with known answers. Question `index` is a pure function of (seed, index).
struct TaskKind {
  std::string name;
  std::string help;
  TaskQuestion (*make)(uint64_t seed, int64_t index, int64_t difficulty);
};
const std::vector<TaskKind>& task_kinds();

/// Does the path name questions rather than a file: "task:NAME[,count=N][,difficulty=N][,seed=N]"?
bool is_task_path(const std::string& path);
/// The questions of such a path, count (10000) of them; difficulty (2) is the number of digits, or what else
/// makes the task harder. @throws core::Error (78) for a task or key that is not known.
std::unique_ptr<RecordReader> open_task(const std::string& path);

}  // namespace phalanx::data
