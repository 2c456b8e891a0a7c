#include <fmt/ranges.h>

#include "core/config.h"
#include "core/error.h"
#include "reward/reward.h"
#include "reward/verifiers.h"

namespace phalanx::reward {
namespace {

std::vector<std::string> reward_names() {
  std::vector<std::string> names;
  for (const RewardKind& kind : reward_kinds()) names.push_back(kind.name);
  return names;
}

void declare_term(core::SectionBuilder<TermOptions>& s) {
  s.field("name", &TermOptions::name,
          {.help = "What judges.", .one_of = reward_names(), .required_in_item = true});
  s.field("weight", &TermOptions::weight, {.help = "Factor in the sum."});
}

const bool registered = core::register_section<RewardOptions>(
    "reward", "What sampled answers are worth.", [](core::SectionBuilder<RewardOptions>& s) {
      s.list("terms", &RewardOptions::terms, {.help = "The reward is the weighted sum of these."},
             std::function(declare_term));
    });

}  // namespace

const std::vector<RewardKind>& reward_kinds() {
  static const std::vector<RewardKind> kinds = {
      {"exact_match", "1 if the answer is the record's ground truth, else 0.", exact_match},
      {"numeric_match", "1 if the last number of the answer is the ground truth, else 0.", numeric_match},
  };
  return kinds;
}

std::unique_ptr<Reward> make_reward(const TermOptions& options) {
  for (const RewardKind& kind : reward_kinds()) {
    if (kind.name == options.name) return kind.make(options);
  }
  core::fail(core::ExitCode::kBadConfig, "reward.terms: {} is not known; known are {}", options.name,
             fmt::join(reward_names(), ", "));
}

WeightedRewards::WeightedRewards(const std::vector<TermOptions>& terms) : options_(terms) {
  for (const TermOptions& term : terms) terms_.push_back(make_reward(term));
}

Scores WeightedRewards::score(std::span<const Sample> samples) {
  Scores scores;
  scores.totals.resize(samples.size());
  for (size_t t = 0; t < terms_.size(); ++t) {
    scores.names.push_back(options_[t].name);
    scores.terms.push_back(terms_[t]->score(samples));
    for (size_t i = 0; i < samples.size(); ++i) {
      if (const auto& value = scores.terms[t][i])
        scores.totals[i] = scores.totals[i].value_or(0.0) + options_[t].weight * *value;
    }
  }
  return scores;
}

}  // namespace phalanx::reward
