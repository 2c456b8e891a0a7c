#pragma once
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "core/error.h"
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

inline Score score_one(const TermOptions& options, const std::string& record, const std::string& completion,
                       int64_t num_tokens = 10, int64_t max_tokens = 100) {
  Samples samples;
  samples.add(record, completion, num_tokens, max_tokens);
  return make_reward(options)->score(samples)[0];
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
