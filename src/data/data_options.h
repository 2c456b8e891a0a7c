#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace phalanx::data {

/// One entry of data.train or data.eval.
struct SourceOptions {
  std::string path;
  std::string format = "auto";
  double weight = 1.0;
  std::string documents = "file";  // file | paragraph | line: what a .txt file is cut into
};

/// Section `data`.
struct DataOptions {
  std::vector<SourceOptions> train;
  std::vector<SourceOptions> eval;
  int64_t sequence_length = 1024;
  bool packing = false;
  bool shuffle = true;
  bool interleave = false;
  std::string loss_on = "assistant";                // assistant | completion | last_turn | all
  std::string on_too_long = "drop";                 // drop | truncate | error
  std::string special_tokens_in_content = "parse";  // parse | literal
  int64_t max_bad_records = 0;
  std::optional<std::string> cache_dir;  // default: OUTPUT_DIR/cache
};

}  // namespace phalanx::data
