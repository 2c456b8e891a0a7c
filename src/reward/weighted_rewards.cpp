#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "reward/reward.h"

namespace phalanx::reward {
namespace {

void check_finite(std::vector<Judgement>& judgements) {
  for (Judgement& judgement : judgements) {
    if (judgement.score && !std::isfinite(*judgement.score))
      judgement = {std::nullopt, fmt::format("its score is {}", *judgement.score)};
  }
}

std::vector<size_t> failed_of(const std::vector<Judgement>& judgements) {
  std::vector<size_t> failed;
  for (size_t i = 0; i < judgements.size(); ++i) {
    if (!judgements[i].problem.empty()) failed.push_back(i);
  }
  return failed;
}

}  // namespace

bool Scores::has_failed(size_t sample) const {
  return std::any_of(terms.begin(), terms.end(), [sample](const std::vector<Judgement>& judgements) {
    return !judgements[sample].problem.empty();
  });
}

int64_t Scores::num_failed() const {
  int64_t count = 0;
  for (size_t i = 0; i < totals.size(); ++i) count += has_failed(i);
  return count;
}

std::vector<std::string> Scores::problems() const {
  std::vector<std::string> sentences;
  for (size_t t = 0; t < terms.size(); ++t) {
    const std::vector<size_t> failed = failed_of(terms[t]);
    if (failed.empty()) continue;
    sentences.push_back(fmt::format("reward.terms: {}: {} of {} answers have no score; the first: {}",
                                    names[t], failed.size(), terms[t].size(),
                                    terms[t][failed.front()].problem));
  }
  return sentences;
}

WeightedRewards::WeightedRewards(std::vector<WeightedReward> terms) : terms_(std::move(terms)) {
  std::map<std::string, int> seen;
  for (WeightedReward& term : terms_) {
    const int count = ++seen[term.name];
    if (count > 1) term.name += fmt::format("_{}", count);
  }
}

Scores WeightedRewards::score(std::span<const Sample> samples) {
  Scores scores;
  scores.totals.resize(samples.size());
  for (const WeightedReward& term : terms_) {
    scores.names.push_back(term.name);
    scores.terms.push_back(term.reward->score(samples));
    check_finite(scores.terms.back());
  }
  add_up(scores);
  return scores;
}

void WeightedRewards::ask_again(Scores& scores, std::span<const Sample> samples) {
  for (size_t t = 0; t < terms_.size(); ++t) {
    const std::vector<size_t> failed = failed_of(scores.terms[t]);
    if (failed.empty()) continue;
    std::vector<Sample> asked;
    for (const size_t i : failed) asked.push_back(samples[i]);
    std::vector<Judgement> answers = terms_[t].reward->score(asked);
    check_finite(answers);
    for (size_t i = 0; i < failed.size(); ++i) scores.terms[t][failed[i]] = std::move(answers[i]);
  }
  add_up(scores);
}

void WeightedRewards::add_up(Scores& scores) const {
  for (size_t i = 0; i < scores.totals.size(); ++i) {
    scores.totals[i] = std::nullopt;
    for (size_t t = 0; t < terms_.size(); ++t) {
      if (const Score& score = scores.terms[t][i].score)
        scores.totals[i] = scores.totals[i].value_or(0.0) + terms_[t].weight * *score;
    }
  }
}

}  // namespace phalanx::reward
