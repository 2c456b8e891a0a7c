#pragma once
#include <nlohmann/json.hpp>

#include <fstream>
#include <memory>
#include <string>

namespace phalanx::formats {
class TensorboardWriter;
}

namespace phalanx::trainer {

/// metrics.jsonl and TensorBoard files of a run folder; one object writes them, on rank 0.
///
/// A resumed run goes on in the same metrics.jsonl: rows of steps after the checkpoint are cut off first, so
/// that every step stands in it once. Numbers are written so that they read back to the same bits.
class Metrics {
 public:
  /// @param next_step  first step that this process will run (from 1); later rows in an existing file are
  /// dropped.
  Metrics(const std::string& run_folder, int64_t next_step);
  ~Metrics();

  /// One line; numeric values also go to TensorBoard as train/NAME (eval_NAME as eval/NAME). `row` must have
  /// "step".
  void write(const nlohmann::ordered_json& row);

 private:
  std::ofstream file_;
  std::unique_ptr<formats::TensorboardWriter> tensorboard_;
};

}  // namespace phalanx::trainer
