#include "core/error.h"

#include <gtest/gtest.h>

namespace phalanx::core {
namespace {

struct PrintableCase {
  std::string text;
  std::string expected;
};

TEST(Printable, EscapesWhatATerminalWouldActOn) {
  const std::vector<PrintableCase> cases = {
      {"plain text", "plain text"},
      {"Stra\u00dfe \u4e2d\u6587 \U0001f600", "Stra\u00dfe \u4e2d\u6587 \U0001f600"},
      {"a\nb\tc\r", "a\\nb\\tc\\r"},
      {"\x1b[31mred", "\\x1b[31mred"},
      {std::string("a\0b", 3), "a\\x00b"},
      {"\x7f", "\\x7f"},
      {"\xff\xfe", "\\xff\\xfe"},
      {"\xc0\x80", "\\xc0\\x80"},                    // overlong NUL
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},           // surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // beyond U+10FFFF
      {"\xe4\xb8", "\\xe4\\xb8"},                    // cut short
      {"\u0085", "\\xc2\\x85"},                      // next line, C1
      {"\u2028", "\\xe2\\x80\\xa8"},                 // line separator
      {"\u202e", "\\xe2\\x80\\xae"},                 // right-to-left override
      {"\u2066", "\\xe2\\x81\\xa6"},                 // isolate
      {"\u200e", "\\xe2\\x80\\x8e"},                 // direction mark
  };
  for (const PrintableCase& test : cases) EXPECT_EQ(printable(test.text), test.expected);
}

TEST(Printable, CutsLongTextBetweenCharactersAndMarksTheCut) {
  EXPECT_EQ(printable("abcdefghij", 10), "abcdefghij");
  EXPECT_EQ(printable("abcdefghijk", 10), "abcdefg\u2026");
  EXPECT_EQ(printable("\u4e2d\u4e2d\u4e2d\u4e2d", 10), "\u4e2d\u4e2d\u2026");
  EXPECT_LE(printable(std::string(1'000'000, '\x01')).size(), 120u);
}

TEST(Utf8Length, FollowsTable3Dash7OfTheUnicodeStandard) {
  EXPECT_EQ(utf8_length(""), 0u);
  EXPECT_EQ(utf8_length("a"), 1u);
  EXPECT_EQ(utf8_length("\u00e9x"), 2u);
  EXPECT_EQ(utf8_length("\u20acx"), 3u);
  EXPECT_EQ(utf8_length("\U0001f600"), 4u);
  for (const char* bad : {"\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
                          "\xf5\x80\x80\x80", "\xe2\x82"}) {
    EXPECT_EQ(utf8_length(bad), 0u);
  }
}

TEST(Error, ReportsOneLineWithErrorInFront) {
  try {
    fail(ExitCode::kBadInput, "{}: is {}", "a.gguf", "truncated");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a.gguf: is truncated");
    EXPECT_EQ(error.report(), "error: a.gguf: is truncated");
    EXPECT_EQ(static_cast<int>(error.code()), 65);
  }
}

}  // namespace
}  // namespace phalanx::core
