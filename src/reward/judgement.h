#pragma once
#include <fmt/format.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/log.h"
#include "reward/reward.h"

namespace phalanx::reward {

/// What was said of one answer: a number, or why there is none. Where there is nothing to judge by (no ground
/// truth, a program's null), neither.
struct Judgement {
  Score score = {};
  std::string problem = {};
};

/// An answer at which a pattern of the user gave up.
inline Judgement too_costly(std::string_view text) {
  return {std::nullopt, fmt::format("the pattern is too costly for a text of {} bytes", text.size())};
}

/// The scores, and one warning for all: how many have none, and what was wrong with the first of them.
inline std::vector<Score> scores_of(std::string_view term, std::span<const Judgement> judgements) {
  std::vector<Score> scores;
  size_t count = 0;
  const Judgement* first = nullptr;
  for (const Judgement& judgement : judgements) {
    scores.push_back(judgement.score);
    if (judgement.problem.empty()) continue;
    if (count++ == 0) first = &judgement;
  }
  if (count > 0) {
    core::log_warning("reward.terms: {}: {} of {} answers have no score; the first: {}", term, count,
                      judgements.size(), first->problem);
  }
  return scores;
}

/// A term that looks at one sample at a time.
class EachSample : public Reward {
 public:
  EachSample(std::string term, std::function<Judgement(const Sample&)> judge)
      : term_(std::move(term)), judge_(std::move(judge)) {}

  std::vector<Score> score(std::span<const Sample> samples, const core::StopRequest&) override {
    std::vector<Judgement> judgements;
    for (const Sample& sample : samples) judgements.push_back(judge_(sample));
    return scores_of(term_, judgements);
  }

 private:
  std::string term_;
  std::function<Judgement(const Sample&)> judge_;
};

}  // namespace phalanx::reward
