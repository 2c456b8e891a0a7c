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
  std::span<const int32_t> prompt_ids = {}, completion_ids = {};  ///< of the model that answered
};

using Score = std::optional<double>;

/// What was said of one answer: a number, or why there is none. Where there is nothing to judge by (no ground
/// truth, a program's null), neither.
struct Judgement {
  Score score = {};
  std::string problem = {};
};

/// Judges answers, one judgement each. An answer without a score counts in no mean and moves no weight; it is
/// never worth 0.
class Reward {
 public:
  virtual ~Reward() = default;
  virtual std::vector<Judgement> score(std::span<const Sample> samples) = 0;
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
  std::string path = {};
};

/// Section `reward`.
struct RewardOptions {
  std::vector<TermOptions> terms;
  double max_unscorable = 0.2;
  double max_outage_s = 3600;
};

/// A name for reward.terms[].name.
struct RewardKind {
  std::string name;
  std::string help;
  std::vector<std::string>
      keys;  ///< of TermOptions that it reads, besides name and weight; others are refused
  /// @throws core::Error (78). Empty: needs a model, which those make who know ranks and tensors
  /// (trainer/online/reward_terms.h).
  std::function<std::unique_ptr<Reward>(const TermOptions&)> make;
};
const std::vector<RewardKind>& reward_kinds();
/// @throws core::Error (78) listing the known ones.
const RewardKind& find_reward_kind(const std::string& name);

/// A term that is open.
struct WeightedReward {
  std::string name;
  double weight;
  std::shared_ptr<Reward> reward;
};

/// What all terms say of some answers.
struct Scores {
  std::vector<std::string> names;             ///< of the terms; a second one of a name is "NAME_2", and so on
  std::vector<std::vector<Judgement>> terms;  ///< [term][sample]
  /// Sum of weight x term over the terms that could judge; nothing where none could.
  std::vector<Score> totals;

  /// Whether a term failed on this answer, also where others could judge it.
  bool has_failed(size_t sample) const;
  int64_t num_failed() const;
  /// A sentence for each term that failed: how often, and what was wrong first.
  std::vector<std::string> problems() const;
};

/// All terms with their weights, wherever each is computed. Where one of them is collective, so is this.
class WeightedRewards {
 public:
  explicit WeightedRewards(std::vector<WeightedReward> terms);
  Scores score(std::span<const Sample> samples);
  /// Asks each term once more for the answers that it failed on. @param samples  those of score().
  void ask_again(Scores& scores, std::span<const Sample> samples);

 private:
  void add_up(Scores& scores) const;
  std::vector<WeightedReward> terms_;
};

}  // namespace phalanx::reward
