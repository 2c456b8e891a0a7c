#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/stop.h"
#include "data/record.h"

namespace phalanx::reward {

/// One answer and what it answers.
struct Sample {
  const data::Record* record;  ///< of kind kPrompt: ground_truth, fields
  std::string prompt;          ///< as the model saw it
  std::string completion;      ///< what the model said, without special tokens
  int64_t num_tokens = 0;      ///< of the completion
  bool is_truncated = false;   ///< ended by its length, not by the model
  int64_t max_tokens = 0;      ///< what it was allowed
};

using Score = std::optional<double>;

/// Judges answers. One number each, or nothing where an answer cannot be judged (no ground truth, a program
/// that failed): such an answer counts in no mean and moves no weight; it is never worth 0.
class Reward {
 public:
  virtual ~Reward() = default;
  /// @throws core::Stopped when `stop` asks for it, from terms that wait for something outside of this
  /// process.
  virtual std::vector<Score> score(std::span<const Sample> samples, const core::StopRequest& stop = {}) = 0;
};

/// One entry of `reward.terms`. All but name and weight belong to some terms: RewardKind::keys.
struct TermOptions {
  std::string name;
  double weight = 1.0;
  std::string pattern = {};
  int64_t min_tokens = 0;
  std::optional<int64_t> max_tokens = {};
  std::optional<int64_t> cache_tokens = {};
  int64_t ngram_size = 3;
  std::vector<std::string> command = {};
  std::vector<std::string> readable = {};
  std::string sandbox = "namespaces";
  double timeout_s = 10;
  int64_t memory_mb = 512;
  int64_t num_parallel = 4;
  int64_t samples_per_run = 1;
  std::vector<std::string> urls = {};
  std::string model = {};
  std::string prompt = {};
  std::vector<double> range = {0, 10};
  std::string api_key_env = {};
  int64_t num_attempts = 8;
};

/// Section `reward`.
struct RewardOptions {
  std::vector<TermOptions> terms;
};

/// A name for reward.terms[].name.
struct RewardKind {
  std::string name;
  std::string help;
  std::vector<std::string>
      keys;  ///< of TermOptions that it reads, besides name and weight; others are refused
  std::function<std::unique_ptr<Reward>(const TermOptions&)> make;  ///< @throws core::Error (78)
};
const std::vector<RewardKind>& reward_kinds();
/// @throws core::Error (78) listing the known ones.
std::unique_ptr<Reward> make_reward(const TermOptions& options);

/// What all terms say of some answers.
struct Scores {
  std::vector<std::string> names;         ///< of the terms; a second one of a name is "NAME_2", and so on
  std::vector<std::vector<Score>> terms;  ///< [term][sample]
  /// Sum of weight x term over the terms that could judge; nothing where none could.
  std::vector<Score> totals;
};

/// All terms with their weights.
class WeightedRewards {
 public:
  explicit WeightedRewards(const std::vector<TermOptions>& terms);
  Scores score(std::span<const Sample> samples, const core::StopRequest& stop = {});  ///< as Reward::score()

 private:
  std::vector<TermOptions> options_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<Reward>> terms_;
};

}  // namespace phalanx::reward
