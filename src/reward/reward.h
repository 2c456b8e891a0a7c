#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

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

/// Judges answers. One number each, or nothing where an answer cannot be judged (no ground truth, a program
/// that failed): such an answer counts in no mean and moves no weight; it is never worth 0.
class Reward {
 public:
  virtual ~Reward() = default;
  virtual std::vector<std::optional<double>> score(std::span<const Sample> samples) = 0;
};

/// One entry of `reward.terms`.
struct TermOptions {
  std::string name;
  double weight = 1.0;
};

/// Section `reward`.
struct RewardOptions {
  std::vector<TermOptions> terms;
};

/// A name for reward.terms[].name.
struct RewardKind {
  std::string name;
  std::string help;
  std::function<std::unique_ptr<Reward>(const TermOptions&)> make;  ///< @throws core::Error (78)
};
const std::vector<RewardKind>& reward_kinds();
/// @throws core::Error (78) listing the known ones.
std::unique_ptr<Reward> make_reward(const TermOptions& options);

/// What all terms say of some answers.
struct Scores {
  std::vector<std::string> names;                         ///< of the terms
  std::vector<std::vector<std::optional<double>>> terms;  ///< [term][sample]
  /// Sum of weight x term over the terms that could judge; nothing where none could.
  std::vector<std::optional<double>> totals;
};

/// All terms with their weights.
class WeightedRewards {
 public:
  explicit WeightedRewards(const std::vector<TermOptions>& terms);
  Scores score(std::span<const Sample> samples);

 private:
  std::vector<TermOptions> options_;
  std::vector<std::unique_ptr<Reward>> terms_;
};

}  // namespace phalanx::reward
