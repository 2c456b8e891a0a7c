#include "generate/stop_strings.h"

#include <gtest/gtest.h>

namespace phalanx::generate {
namespace {

std::shared_ptr<const data::Tokenizer> fixture_tokenizer() {
  return data::load_hf_tokenizer(PHALANX_SOURCE_DIR "/tests/launch/fixture/tokenizer");
}

/// After how many of the ids the text is to end; 0: never.
size_t tokens_until_stop(const std::vector<std::string>& strings, const std::vector<int32_t>& ids) {
  const auto tokenizer = fixture_tokenizer();
  StopMatcher matcher(strings, *tokenizer);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (matcher.push(ids[i])) return i + 1;
  }
  return 0;
}

TEST(StopStrings, AreSeenAcrossTheBordersOfTokens) {
  const auto tokenizer = fixture_tokenizer();
  const std::string text = "a line\nQuestion: b\n\nthe end é here";
  const std::vector<int32_t> ids = tokenizer->encode(text);
  for (const std::string string : {"Question:", "\n\nthe", "e", "é h", "line\nQ"}) {
    const size_t count = tokens_until_stop({string}, ids);
    ASSERT_GT(count, 0U) << string;
    const std::string until = tokenizer->decode({ids.begin(), ids.begin() + static_cast<long>(count)}, true);
    const std::string before =
        tokenizer->decode({ids.begin(), ids.begin() + static_cast<long>(count) - 1}, true);
    EXPECT_NE(until.find(string), std::string::npos) << string;
    EXPECT_EQ(before.find(string), std::string::npos) << string;
  }
  EXPECT_EQ(tokens_until_stop({"never there"}, ids), 0U);
  EXPECT_EQ(tokens_until_stop({"never there", "the end"}, ids), tokens_until_stop({"the end"}, ids));
}

TEST(StopStrings, AreCutOffTheText) {
  EXPECT_EQ(before_stop_string("one. two! three", {"!", ". "}), "one");
  EXPECT_EQ(before_stop_string("one", {"!"}), "one");
}

}  // namespace
}  // namespace phalanx::generate
