#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "trainer/online/rollout.h"

namespace phalanx::trainer {

/// Generations on disk, one file each, one line per prompt:
///
///     {"prompt", "prompt_ids", "completions": [text], "completion_ids": [[id]], "rewards": [number or null],
///      "finish_reasons": [...], "reward_terms": {name: [...]}, "sampling_logprobs": [[...]],
///      "old_logprobs": [[...]], "ref_logprobs": [[...]], "record_id", "place"}
///
/// Everything but prompt_ids, completion_ids and rewards may be missing. Numbers are written so that they
/// read back to the same bits.
std::string to_jsonl(const Generation& generation);
/// A first line with the key of a run is passed over.
/// @param name  for messages. @throws core::Error (65): what is wrong, with the line.
Generation generation_from_jsonl(const std::string& text, const std::string& name);

/// The generations of a run: written whole, before anything learns from them, so that after a kill the steps
/// that follow a checkpoint learn from the same answers, whatever a judge or a program would say now.
class RolloutLedger {
 public:
  explicit RolloutLedger(std::filesystem::path folder);
  /// @param key  of what the answers depend on (settings, prompts, weights); a file with another key is not
  /// this one.
  std::optional<Generation> find(int64_t number, const std::string& key) const;
  void write(int64_t number, const std::string& key, const Generation& generation) const;

 private:
  std::filesystem::path file(int64_t number) const;
  std::filesystem::path folder_;
};

}  // namespace phalanx::trainer
