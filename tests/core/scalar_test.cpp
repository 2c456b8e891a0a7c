#include "core/scalar.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace phalanx::core {
namespace {

TEST(ClassifyScalar, FollowsTheCoreSchemaOfYaml12) {
  const std::vector<std::pair<ScalarKind, std::vector<std::string>>> rows = {
      {ScalarKind::kNull, {"", "~", "null", "Null", "NULL"}},
      {ScalarKind::kBool, {"true", "True", "TRUE", "false", "False", "FALSE"}},
      {ScalarKind::kInteger, {"0", "-0", "+12", "007", "18446744073709551616"}},
      {ScalarKind::kFloat, {"1.", ".5", "-1.5", "2e-5", "1E9", "+1.e+3", "1e400", "0.0"}},
      {ScalarKind::kInfinityOrNan, {".inf", "-.Inf", "+.INF", ".nan", ".NaN"}},
      {ScalarKind::kOctalOrHex, {"0o12", "0x1F"}},
      {ScalarKind::kString,
       {"no", "yes", "on",  "off", "y", "1:20", "1_000", "nan", "inf", "tRue",       "nULL", ".",
        "e5", "1e",  "1e+", "-",   "+", "--1",  "0b1",   "0x",  "0o8", "2026-01-01", "1 2",  "1,000"}}};
  for (const auto& [kind, texts] : rows) {
    for (const std::string& text : texts) EXPECT_EQ(classify_scalar(text), kind) << "'" << text << "'";
  }
}

TEST(ParseInteger, AcceptsDecimalIntegersAndIntegralFloats) {
  const std::vector<std::pair<std::string, int64_t>> rows = {{"0", 0},
                                                             {"-0", 0},
                                                             {"42", 42},
                                                             {"+42", 42},
                                                             {"-7", -7},
                                                             {"1e9", 1'000'000'000},
                                                             {"2.0", 2},
                                                             {"1.5e3", 1500},
                                                             {"9223372036854775807", INT64_MAX},
                                                             {"-9223372036854775808", INT64_MIN}};
  for (const auto& [text, value] : rows) EXPECT_EQ(std::get<int64_t>(parse_integer(text)), value) << text;
}

TEST(ParseInteger, SaysWhyATextIsNone) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"012", "has a leading zero (octal to some readers); write 12"},
      {"-00", "has a leading zero (octal to some readers); write -0"},
      {"0o12", "is octal or hexadecimal; write it in decimal"},
      {"0x10", "is octal or hexadecimal; write it in decimal"},
      {"1_000", "has underscores; write 1000"},
      {"1,000", "has commas; write 1000"},
      {"1:20", "is not a number"},
      {".inf", "is not finite"},
      {"2.5", "has a fraction"},
      {"1e-3", "has a fraction"},
      {"1e300", "is too large for this spelling; write all its digits"},
      {"1e400", "does not fit into a double"},
      {"9223372036854775808", "does not fit into 64 bits"},
      {"abc", "is not a number"}};
  for (const auto& [text, reason] : rows)
    EXPECT_EQ(std::get<std::string>(parse_integer(text)), reason) << text;
}

TEST(ParseNumber, ReadsDoublesExactlyAndRefusesTheRest) {
  const std::vector<std::pair<std::string, double>> rows = {
      {"2e-5", 2e-5}, {".5", 0.5},   {"1.", 1.0},  {"-0.0", -0.0},
      {"3", 3.0},     {"+1e3", 1e3}, {"0.1", 0.1}, {"1.7976931348623157e308", 1.7976931348623157e308}};
  for (const auto& [text, value] : rows) EXPECT_EQ(std::get<double>(parse_number(text)), value) << text;
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"1e400", "does not fit into a double"},
      {".nan", "is not finite"},
      {"NaN", "is not a number"},
      {"-.inf", "is not finite"},
      {"1_0.5", "has underscores; write 10.5"},
      {"01.5", "has a leading zero (octal to some readers); write 1.5"},
      {"1e-400", "does not fit into a double"}};
  for (const auto& [text, reason] : refused)
    EXPECT_EQ(std::get<std::string>(parse_number(text)), reason) << text;
}

TEST(FormatNumber, WritesTheShortestTextThatReadsBackAndIsANumberToEveryYamlReader) {
  EXPECT_EQ(format_number(2e-5), "2.0e-05");
  EXPECT_EQ(format_number(1.0), "1.0");
  EXPECT_EQ(format_number(0.1), "0.1");
  EXPECT_EQ(format_number(1e300), "1.0e+300");
  EXPECT_EQ(format_number(1.25e-8), "1.25e-08");
  for (const double value :
       {1.0 / 3.0, 5e-324, std::numeric_limits<double>::max(), -1e-7, 123456789.125, 0.0, -0.0}) {
    const double read_back = std::get<double>(parse_number(format_number(value)));
    EXPECT_EQ(std::signbit(read_back), std::signbit(value));
    EXPECT_EQ(read_back, value);
  }
}

TEST(FormatString, QuotesWhateverAnyYamlReaderCouldTakeForSomethingElse) {
  for (const char* plain : {"adamw", "runs/wordnet-lora", "./x.yaml", "/a/b_c", "all-linear"})
    EXPECT_EQ(format_string(plain), plain);
  for (const char* quoted : {"", "no", "ON", "y", "true", "null", "~", "12", "1e5", "1_000", "2026-01-01",
                             "-x", "a b", "a: b", "#x", ".5", ".inf", "+1"}) {
    EXPECT_EQ(format_string(quoted), "\"" + std::string(quoted) + "\"");
  }
  EXPECT_EQ(format_string("a\"b\\c\nd\x1b"), "\"a\\\"b\\\\c\\nd\\x1b\"");
}

}  // namespace
}  // namespace phalanx::core
