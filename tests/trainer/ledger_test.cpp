#include "trainer/online/ledger.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"

namespace phalanx::trainer {
namespace {

Generation small_generation() {
  Rollout judged;
  judged.ids = {5, 6, 2};
  judged.sampling_logprobs = {-0.1, -1.0 / 3, -2e-17};
  judged.old_logprobs = {-0.1000000000000001, -0.3, -0.2};
  judged.text = "two words";
  judged.finish_reason = "stop";
  judged.reward = 1.0 / 3;
  judged.terms = {{"numeric_match", 1.0 / 3}, {"judge", std::nullopt}};
  Rollout unjudged = judged;
  unjudged.reward = std::nullopt;
  unjudged.ids = {7, 8, 9};
  return {{3, "how many?", {1, 4}, {judged, unjudged}, 17}};
}

void expect_same_rollout(const Rollout& a, const Rollout& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.sampling_logprobs, b.sampling_logprobs);
  EXPECT_EQ(a.old_logprobs, b.old_logprobs);
  EXPECT_EQ(a.ref_logprobs, b.ref_logprobs);
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.finish_reason, b.finish_reason);
  EXPECT_EQ(a.reward, b.reward);
  EXPECT_EQ(a.terms, b.terms);
}

std::string ledger_error(const std::string& text) {
  try {
    generation_from_jsonl(text, "file.jsonl");
  } catch (const core::Error& error) {
    return error.what();
  }
  return "";
}

TEST(RolloutLedger, ReadsBackTheSameBits) {
  const Generation written = small_generation();
  const Generation read = generation_from_jsonl(to_jsonl(written), "file.jsonl");
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read[0].record_id, 3);
  EXPECT_EQ(read[0].place, 17);
  EXPECT_EQ(read[0].prompt_ids, written[0].prompt_ids);
  for (size_t i = 0; i < 2; ++i) expect_same_rollout(read[0].rollouts[i], written[0].rollouts[i]);
}

TEST(RolloutLedger, FindsAGenerationUnderItsKeyAlone) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "phalanx_rollout_ledger";
  std::filesystem::remove_all(folder);
  const RolloutLedger ledger(folder);
  const std::string key = R"({"rollouts_of":"abc"})";
  EXPECT_FALSE(ledger.find(4, key));
  ledger.write(4, key, small_generation());
  ASSERT_TRUE(ledger.find(4, key));
  expect_same_rollout(ledger.find(4, key)->at(0).rollouts[0], small_generation()[0].rollouts[0]);
  EXPECT_FALSE(ledger.find(4, R"({"rollouts_of":"abd"})"));
  EXPECT_FALSE(ledger.find(5, key));
  EXPECT_EQ(generation_from_jsonl(key + "\n" + to_jsonl(small_generation()), "a run's own file").size(), 1U);
}

TEST(RolloutLedger, SaysWhatIsWrongWithARecordedLine) {
  EXPECT_NE(ledger_error("{}\n").find("file.jsonl: line 1: has no prompt_ids"), std::string::npos);
  const std::string good = to_jsonl(small_generation());
  EXPECT_NE(ledger_error(good + "[1]\n").find("line 2: is not an object"), std::string::npos);
  EXPECT_NE(ledger_error(R"({"prompt_ids": [1], "completion_ids": [[1]], "rewards": [1, 2]})")
                .find("rewards must be"),
            std::string::npos);
  EXPECT_NE(ledger_error(R"({"prompt_ids": [1], "completion_ids": [[]], "rewards": [1]})").find("no token"),
            std::string::npos);
  EXPECT_NE(ledger_error(
                R"({"prompt_ids": [1], "completion_ids": [[3, 4]], "rewards": [1], "old_logprobs": [[-1]]})")
                .find("1 numbers for 2 tokens"),
            std::string::npos);
  EXPECT_NE(ledger_error("{broken\n").find("line 1"), std::string::npos);
}

}  // namespace
}  // namespace phalanx::trainer
