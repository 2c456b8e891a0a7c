#pragma once
#include <fmt/format.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reward/reward.h"

namespace phalanx::reward {

/// An answer at which a pattern of the user gave up.
inline Judgement too_costly(std::string_view text) {
  return {std::nullopt, fmt::format("the pattern is too costly for a text of {} bytes", text.size())};
}

/// A term that looks at one sample at a time.
class EachSample : public Reward {
 public:
  explicit EachSample(std::function<Judgement(const Sample&)> judge) : judge_(std::move(judge)) {}

  std::vector<Judgement> score(std::span<const Sample> samples) override {
    std::vector<Judgement> judgements;
    for (const Sample& sample : samples) judgements.push_back(judge_(sample));
    return judgements;
  }

 private:
  std::function<Judgement(const Sample&)> judge_;
};

}  // namespace phalanx::reward
