#include "core/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"

namespace phalanx::core {
namespace {

struct Rejected {
  std::string text;
  std::string message;  // after "x: "
};

const std::vector<Rejected>& rejected_texts() {
  static const std::vector<Rejected> rows = {
      {"", "byte 0: the end of the text, a value is expected"},
      {"  ", "byte 2: the end of the text, a value is expected"},
      {"\xef\xbb\xbf{}", "byte 0: a byte order mark; save the file as UTF-8 without BOM"},
      {"{} x", "byte 3: 'x' after the end of the JSON value"},
      {"[1,]", "byte 3: ']', a value is expected"},
      {"[1 2]", "byte 3: '2', ',' or ']' is expected"},
      {"[1", "byte 2: the end of the text, ',' or ']' is expected"},
      {"{\"a\":1,}", "byte 7: '}', a key in double quotes is expected"},
      {"{\"a\" 1}", "byte 5: '1', ':' is expected"},
      {"{\"a\":1 \"b\":2}", "byte 7: '\"', ',' or '}' is expected"},
      {"{a:1}", "byte 1: 'a', a key in double quotes is expected"},
      {"{'a':1}", "byte 1: ''', a key in double quotes is expected"},
      {"{\"a\":1,\"b\":2,\"a\":3}", "byte 13: the key \"a\" is there twice"},
      {"{\"a\":1,\"\\u0061\":3}", "byte 7: the key \"a\" is there twice"},
      {"[NaN]", "byte 1: 'N', a value is expected"},
      {"[Infinity]", "byte 1: 'I', a value is expected"},
      {"[-Infinity]", "byte 1: '-', a value is expected"},
      {"[1e999]", "byte 1: the number 1e999 does not fit into a double"},
      {"[-1e999]", "byte 1: the number -1e999 does not fit into a double"},
      {"[01]", "byte 1: a number with a leading zero"},
      {"[+1]", "byte 1: '+', a value is expected"},
      {"[.5]", "byte 1: '.', a value is expected"},
      {"[1.]", "byte 3: ']', a digit is expected"},
      {"[1e]", "byte 3: ']', a digit is expected"},
      {"[1e+]", "byte 4: ']', a digit is expected"},
      {"[-]", "byte 1: '-', a value is expected"},
      {"[0x10]", "byte 2: 'x', ',' or ']' is expected"},
      {"tru", "byte 0: 't', a value is expected"},
      {"True", "byte 0: 'T', a value is expected"},
      {"// c\n1", "byte 0: '/', a value is expected"},
      {"\"abc", "byte 0: a string without closing quote"},
      {"\"a\nb\"", "byte 2: the control character 0x0a in a string; write it as \\u000a"},
      {std::string("\"a\0\"", 4), "byte 2: the control character 0x00 in a string; write it as \\u0000"},
      {"\"\\x41\"", "byte 1: an unknown escape \\ before 'x'"},
      {"\"\\", "byte 1: an unknown escape \\ before the end of the text"},
      {"\"\\u12\"", "byte 1: \\u without four hexadecimal digits"},
      {"\"\\u-123\"", "byte 1: \\u without four hexadecimal digits"},
      {"\"\\ud800\"", "byte 1: a lone surrogate \\ud800"},
      {"\"\\udc00\"", "byte 1: a lone surrogate \\udc00"},
      {"\"\\ud800\\u0041\"", "byte 1: a lone surrogate \\ud800"},
      {"\"\\ud800\\n\"", "byte 1: a lone surrogate \\ud800"},
      {"\"\xff\"", "byte 1: the byte 0xff is not valid UTF-8"},
      {"\"\xed\xa0\x80\"", "byte 1: the byte 0xed is not valid UTF-8"},
      {"[\xc3\xa9]", "byte 1: '\u00e9', a value is expected"},
      {std::string(201, '[') + std::string(201, ']'), "byte 200: nested deeper than 200 levels"},
      {std::string(1'000'000, '['), "byte 200: nested deeper than 200 levels"},
  };
  return rows;
}

TEST(ParseJson, RefusesWhatRfc8259DoesNotAllowAndSaysWhere) {
  for (const Rejected& row : rejected_texts()) {
    try {
      parse_json(row.text, "x");
      ADD_FAILURE() << "accepted: " << row.text.substr(0, 60);
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), "x: " + row.message) << row.text.substr(0, 60);
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
    }
  }
}

std::string from_suite_base64(const std::string& text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t digit =
        std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/").find(c);
    if (digit == std::string_view::npos) break;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return out;
}

std::string suite_text(const Json& packed) {
  if (packed.is_string()) return from_suite_base64(packed.get<std::string>());
  std::string text;
  const std::string piece = from_suite_base64(packed[0].get<std::string>());
  for (int i = 0; i < packed[1].get<int>(); ++i) text += piece;
  return text + from_suite_base64(packed[2].get<std::string>());
}

bool accepts_json(const std::string& text) {
  try {
    parse_json(text, "x");
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_EQ(printable(error.what(), 1000), error.what());
    return false;
  }
}

/// All 318 files of JSONTestSuite: y_ must be read (but for duplicate keys), n_ must be refused; of i_, which
/// RFC 8259 leaves open, these are read.
TEST(ParseJson, ReadsAndRefusesTheJsonTestSuite) {
  const std::set<std::string> open_and_read = {
      "i_number_double_huge_neg_exp.json", "i_number_real_underflow.json", "i_number_too_big_neg_int.json",
      "i_number_too_big_pos_int.json", "i_number_very_big_negative_int.json"};
  const std::set<std::string> two_of_a_key = {"y_object_duplicated_key.json",
                                              "y_object_duplicated_key_and_value.json"};
  const Json suite = read_json(std::string(PHALANX_SOURCE_DIR) + "/tests/core/golden/json_suite.json");
  int counts[3] = {};
  for (const auto& [name, packed] : suite["cases"].items()) {
    const bool must_read = (name[0] == 'y' && !two_of_a_key.contains(name)) || open_and_read.contains(name);
    EXPECT_EQ(accepts_json(suite_text(packed)), must_read) << name;
    ++counts[name[0] == 'y' ? 0 : name[0] == 'n' ? 1 : 2];
  }
  EXPECT_EQ(counts[0], 95);
  EXPECT_EQ(counts[1], 188);
  EXPECT_EQ(counts[2], 35);
}

TEST(ParseJson, ReadsValuesAndKeepsTheOrderOfKeys) {
  const Json json =
      parse_json(" {\"z\": [1, -2, 3.5, 1e2, true, false, null], \"a\": {\"k\": \"v\"}, \"\": {}} \n", "x");
  EXPECT_EQ(to_text(json), R"({"z":[1,-2,3.5,100.0,true,false,null],"a":{"k":"v"},"":{}})");
  EXPECT_EQ(json.at("a").at("k"), "v");
  EXPECT_NO_THROW(parse_json(std::string(200, '[') + std::string(200, ']'), "x"));
}

TEST(ParseJson, DecodesEscapes) {
  EXPECT_EQ(parse_json(R"("\"\\\/\b\f\n\r\t")", "x").get<std::string>(), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(parse_json(R"("\u00e9\u20AC\ud83d\ude00")", "x").get<std::string>(), "\u00e9\u20ac\U0001f600");
  EXPECT_EQ(parse_json(R"("a\u0000b")", "x").get<std::string>(), std::string("a\0b", 3));
  EXPECT_EQ(parse_json("\"\u2028\x7f\"", "x").get<std::string>(), "\u2028\x7f");
}

TEST(ParseJson, KeepsIntegersExactAndTurnsLargerOnesIntoDoubles) {
  EXPECT_EQ(parse_json("9223372036854775807", "x").get<int64_t>(), INT64_MAX);
  EXPECT_EQ(parse_json("-9223372036854775808", "x").get<int64_t>(), INT64_MIN);
  EXPECT_EQ(parse_json("18446744073709551615", "x").get<uint64_t>(), UINT64_MAX);
  EXPECT_TRUE(parse_json("18446744073709551616", "x").is_number_float());
  EXPECT_EQ(parse_json("1000000000000000019884624838656", "x").get<double>(),
            1e30);  // a usual model_max_length
  EXPECT_EQ(parse_json("1e-999", "x").get<double>(), 0.0);
  EXPECT_TRUE(parse_json("9007199254740993", "x").is_number_integer());
}

TEST(ParseJson, ReadsALargeObjectInLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("{}\"token{}\":{}", i == 0 ? "" : ",", i, i);
  const Json json = parse_json(text + "}", "x");
  EXPECT_EQ(json.size(), 200'000u);
}

TEST(ToText, WritesDoublesThatReadBackToTheSameBits) {
  for (const double value :
       {0.1, 1.0 / 3.0, 1e-310, 5e-324, 1.7976931348623157e308, double(0.1f), -0.0, 2.0e-4, 123456789.0}) {
    const double read_back = parse_json(to_text(Json(value)), "x").get<double>();
    EXPECT_EQ(read_back, value);
    EXPECT_EQ(std::signbit(read_back), std::signbit(value));
  }
  EXPECT_EQ(to_text(Json(0.1)), "0.1");
  EXPECT_EQ(to_text(Json(std::numeric_limits<double>::quiet_NaN())), "null");
  EXPECT_EQ(to_text(Json{{"a", 1}}, 2), "{\n  \"a\": 1\n}");
  EXPECT_THROW(to_text(Json("\xff")), Error);
}

}  // namespace
}  // namespace phalanx::core
