#include "trainer/metrics.h"

#include <filesystem>
#include <sstream>

#include "core/error.h"
#include "core/files.h"
#include "formats/tensorboard.h"

namespace phalanx::trainer {
namespace {

constexpr uint64_t kMaxMetricsBytes = uint64_t{4} << 30;

/// Rows that stay when a run goes on: those of steps that the checkpoint has.
void drop_later_rows(const std::string& path, int64_t next_step) {
  std::istringstream old(core::read_file(path, kMaxMetricsBytes));
  std::string kept;
  for (std::string line; std::getline(old, line);) {
    const auto row = nlohmann::ordered_json::parse(line, nullptr, false);
    if (!row.is_discarded() && row.value("step", int64_t{0}) < next_step) kept += line + "\n";
  }
  core::write_file_atomic(path, kept);
}

std::string tag(const std::string& name) {
  return name.starts_with("eval_") ? "eval/" + name.substr(5) : "train/" + name;
}

}  // namespace

Metrics::Metrics(const std::string& run_folder, int64_t next_step) {
  const std::string path = run_folder + "/metrics.jsonl";
  if (std::filesystem::exists(path)) drop_later_rows(path, next_step);
  file_.open(path, std::ios::app);
  if (!file_) core::fail(core::ExitCode::kStorage, "{}: cannot be written", path);
  tensorboard_ = std::make_unique<formats::TensorboardWriter>(run_folder);
}

Metrics::~Metrics() = default;

void Metrics::write(const nlohmann::ordered_json& row) {
  file_ << row.dump() << "\n" << std::flush;  // a full disk loses rows, not the run
  file_.clear();
  const int64_t step = row.at("step").get<int64_t>();
  for (const auto& [name, value] : row.items()) {
    if (name != "step" && value.is_number()) tensorboard_->scalar(tag(name), step, value.get<float>());
  }
  try {
    tensorboard_->flush();
  } catch (const core::Error&) {
  }
}

}  // namespace phalanx::trainer
