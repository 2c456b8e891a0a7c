#pragma once
#include <fmt/format.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/log.h"

namespace phalanx::reward {

/// What somebody outside of this process said of one answer: a number, or why there is none. A judge that
/// finds the answer impossible to judge (null) gives neither.
struct Judgement {
  std::optional<double> score = {};
  std::string problem = {};
};

/// One warning for all of a call: how many have no score, and what was wrong with the first of them.
inline void warn_of_problems(std::string_view term, std::span<const Judgement> judgements) {
  size_t count = 0;
  const Judgement* first = nullptr;
  for (const Judgement& judgement : judgements) {
    if (judgement.problem.empty()) continue;
    if (count++ == 0) first = &judgement;
  }
  if (count == 0) return;
  core::log_warning("reward.terms: {}: {} of {} answers have no score; the first: {}", term, count,
                    judgements.size(), first->problem);
}

}  // namespace phalanx::reward
