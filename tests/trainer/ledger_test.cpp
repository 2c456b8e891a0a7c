#include "trainer/online/ledger.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "error_of.h"

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

/// A ledger in a fresh folder with generation 4, of three groups.
class LedgerOnDisk : public testing::Test {
 protected:
  LedgerOnDisk() {
    core::set_up_log({.is_quiet = true});  // of a note for each torn byte
    std::filesystem::remove_all(folder_);
    for (int64_t i = 0; i < 3; ++i) {
      generation_.push_back(small_generation()[0]);
      generation_.back().record_id = i;
    }
    ledger_.write(4, generation_);
    text_ = core::read_file(ledger_.file(4).string(), 1 << 20);
  }
  ~LedgerOnDisk() override {
    core::set_up_log({});
    std::filesystem::remove_all(folder_);
  }

  /// Generation 4 with other bytes.
  std::optional<Generation> find_in(const std::string& text) const {
    std::ofstream(ledger_.file(4), std::ios::binary) << text;
    return ledger_.find(4);
  }
  std::string error_in(const std::string& text) const {
    return phalanx::test::error_of([&] { find_in(text); });
  }
  size_t line_begin(int line) const {
    size_t at = 0;
    for (int i = 1; i < line; ++i) at = text_.find('\n', at) + 1;
    return at;
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("phalanx_rollout_ledger_" + std::to_string(::getpid()));
  const RolloutLedger ledger_{folder_, "abc"};
  Generation generation_;
  std::string text_;
};

TEST_F(LedgerOnDisk, FindsAGenerationUnderItsKeyAlone) {
  ASSERT_TRUE(ledger_.find(4));
  EXPECT_EQ(to_jsonl(*ledger_.find(4)), to_jsonl(generation_));
  EXPECT_FALSE(RolloutLedger(folder_, "abd").find(4));
  EXPECT_FALSE(ledger_.find(5));
  EXPECT_EQ(generation_from_jsonl(text_, "a run's own file").size(), 3U) << "can be learned from again";
}

TEST_F(LedgerOnDisk, TornAtEveryByteOfItsLastRecordIsMadeAgain) {
  for (size_t size = line_begin(4); size + 1 < text_.size(); ++size)
    ASSERT_FALSE(find_in(text_.substr(0, size))) << size << " of " << text_.size() << " bytes";
  EXPECT_TRUE(find_in(text_.substr(0, text_.size() - 1))) << "only the line break is missing";
  EXPECT_FALSE(find_in(text_.substr(0, line_begin(4)) + std::string(text_.size() - line_begin(4), '\0')))
      << "bytes that never reached the disk";
}

TEST_F(LedgerOnDisk, DamagedBeforeItsLastRecordIsRefusedAtEveryByte) {
  for (int line : {2, 3}) {
    for (size_t at = line_begin(line); at + 1 < line_begin(line + 1); ++at) {
      std::string damaged = text_;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      const std::string error = error_in(damaged);
      ASSERT_NE(error.find("generation_000004.jsonl: line " + std::to_string(line) + " is damaged"),
                std::string::npos)
          << error;
    }
  }
  const std::string third = text_.substr(line_begin(3), line_begin(4) - line_begin(3));
  EXPECT_NE(error_in(text_ + third).find("line 5"), std::string::npos) << "more lines than groups";
  std::string without = text_;
  EXPECT_FALSE(find_in(without.erase(line_begin(3), third.size()))) << "fewer lines than groups";
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
