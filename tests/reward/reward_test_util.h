#pragma once
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/log.h"
#include "data/record.h"
#include "reward/reward.h"

namespace phalanx::reward::test {

/// Samples over records of their own.
class Samples {
 public:
  /// @param record  JSON of a prompt record
  Samples& add(const std::string& record, std::string completion, int64_t num_tokens = 10,
               int64_t max_tokens = 100) {
    records_.push_back(data::parse_record(record, "prompt"));
    samples_.push_back({&records_.back(), records_.back().prompt, std::move(completion), num_tokens,
                        num_tokens == max_tokens, max_tokens});
    return *this;
  }
  operator std::span<const Sample>() const { return samples_; }

 private:
  std::deque<data::Record> records_;
  std::vector<Sample> samples_;
};

inline std::vector<Score> scores_of(const std::vector<Judgement>& judgements) {
  std::vector<Score> scores;
  for (const Judgement& judgement : judgements) scores.push_back(judgement.score);
  return scores;
}

/// What one term says; what is wrong with it goes to the log, as in a run.
inline std::vector<Score> judged(const std::string& term, std::unique_ptr<Reward> reward,
                                 std::span<const Sample> samples) {
  const Scores scores = WeightedRewards({{term, 1, std::move(reward)}}).score(samples);
  for (const std::string& problem : scores.problems()) core::log_warning("{}", problem);
  return scores_of(scores.terms[0]);
}

inline std::unique_ptr<Reward> make_reward(const TermOptions& options) {
  return find_reward_kind(options.name).make(options);
}

inline Score score_one(const TermOptions& options, const std::string& record, const std::string& completion,
                       int64_t num_tokens = 10, int64_t max_tokens = 100) {
  Samples samples;
  samples.add(record, completion, num_tokens, max_tokens);
  return judged(options.name, make_reward(options), samples)[0];
}

inline std::string refusal(const TermOptions& options) {
  try {
    make_reward(options);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadConfig);
    return error.what();
  }
  return "no error";
}

}  // namespace phalanx::reward::test
