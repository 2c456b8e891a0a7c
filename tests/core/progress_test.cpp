#include "core/progress.h"

#include <gtest/gtest.h>

#include "core/log.h"
#include "core/memory.h"
#include "core/units.h"

namespace phalanx::core {
namespace {

const ProgressState kState = {
    .step = 42, .loss = 2.34567, .tokens_per_s = 12345.0, .memory_bytes = 1'288'490'189};

TEST(FormatProgress, IsPlainTextWithoutATerminal) {
  EXPECT_EQ(format_progress(kState, 200, 83.0, {}),
            "step 42/200  loss 2.3457  12.3k tok/s  ETA 1:23  1.2 GiB");
  EXPECT_EQ(format_progress({.step = 3}, 0, std::nullopt, {.unit = "file"}), "file 3");
}

TEST(FormatProgress, DrawsABarThatFitsTheTerminal) {
  const std::string text =
      format_progress({.step = 50}, 100, std::nullopt, {.is_terminal = true, .columns = 27});
  EXPECT_EQ(text, "step 50/100 \u2501\u2501\u2501\u2501\u2501\u2500\u2500\u2500\u2500  50%");
  EXPECT_EQ(format_progress({.step = 50}, 100, std::nullopt, {.is_terminal = true, .columns = 18}),
            "step 50/100  50%");
  EXPECT_EQ(format_progress({.step = 50}, 100, std::nullopt, {.is_terminal = true, .columns = 10}),
            "step 50/1");
  EXPECT_EQ(format_progress(kState, 200, 83.0, {.is_terminal = true}).find('\x1b'), std::string::npos);
  EXPECT_NE(format_progress(kState, 200, 83.0, {.is_terminal = true, .has_color = true}).find('\x1b'),
            std::string::npos);
}

TEST(Progress, PrintsTheFirstAndLastLineAndFewBetween) {
  set_up_log({});
  testing::internal::CaptureStderr();
  {
    Progress progress(1000, {.line_interval_s = 1000.0});
    for (int64_t step = 1; step <= 1000; ++step) progress.update({.step = step});
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_TRUE(text.starts_with("step 1/1000")) << text;
  EXPECT_NE(text.find("step 1000/1000"), std::string::npos) << text;
}

TEST(Units, AreShortAndReadable) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(12u << 20), "12 MiB");
  EXPECT_EQ(format_bytes(1023u << 20), "1.0 GiB");
  EXPECT_EQ(format_duration(0.42), "0.4 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(185), "3:05");
  EXPECT_EQ(format_duration(7385), "2:03:05");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_rate(9.84), "9.8");
  EXPECT_EQ(format_rate(1234.4), "1234");
  EXPECT_EQ(format_rate(56'700), "56.7k");
  EXPECT_EQ(format_rate(1'200'000), "1.2M");
}

TEST(Memory, CountsThisProcess) {
  EXPECT_GT(current_rss_bytes(), 1u << 20);
  EXPECT_GE(peak_rss_bytes(), current_rss_bytes() / 2);
  std::vector<char> block(64 << 20, 1);
  EXPECT_GT(peak_rss_bytes(), 64u << 20);
  EXPECT_GT(total_memory_bytes(), available_memory_bytes());
}

}  // namespace
}  // namespace phalanx::core
