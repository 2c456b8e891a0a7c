#include <gtest/gtest.h>

#include "data/record.h"
#include "data_test_util.h"

namespace phalanx::data {
namespace {

TEST(Record, FormatIsFoundByItsKeys) {
  EXPECT_EQ(parse_record(R"({"messages":[{"role":"user","content":"x"}],"id":1})", "auto").format,
            "messages");
  EXPECT_EQ(parse_record(R"({"conversations":[{"role":"user","content":"x"}]})", "auto").format, "messages");
  EXPECT_EQ(parse_record(R"({"prompt":"a","completion":"b"})", "auto").format, "prompt_completion");
  EXPECT_EQ(parse_record(R"({"text":"a","source":"b"})", "auto").format, "text");
}

TEST(Record, ReadsToolCallsWithoutContentAndToolsAsJsonText) {
  const Record record = parse_record(
      R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]},
                      {"role":"assistant","content":null,"tool_calls":[]}],"tools":"[{\"name\":\"f\"}]"})",
      "auto");
  EXPECT_EQ(record.messages.items().size(), 2u);
  EXPECT_EQ(record.tools.items().size(), 1u);
}

struct BadLine {
  const char *name, *format;
  std::string json, says;
};

class RecordRefuses : public ::testing::TestWithParam<BadLine> {};

TEST_P(RecordRefuses, TheLine) {
  const std::string message = error_of([&] { parse_record(GetParam().json, GetParam().format); });
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
  EXPECT_LT(message.size(), 500u);
}

std::string nested(int depth) {
  return "{\"text\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
}

INSTANTIATE_TEST_SUITE_P(
    Lines, RecordRefuses,
    ::testing::Values(
        BadLine{"NotAnObject", "auto", "[1]", "must be an object"},
        BadLine{"Number", "auto", "3", "must be an object"},
        BadLine{"Truncated", "auto", R"({"text":"ab)", "not valid JSON"},
        BadLine{"TwoValues", "auto", R"({"text":"a"}{})", "not valid JSON"},
        BadLine{"TrailingComma", "auto", R"({"text":"a",})", "not valid JSON"},
        BadLine{"Comment", "auto", R"({"text":"a"} // x)", "not valid JSON"},
        BadLine{"SingleQuotes", "auto", "{'text':'a'}", "not valid JSON"},
        BadLine{"DuplicateKey", "auto", R"({"text":"a","text":"b"})", "\"text\""},
        BadLine{"NestedDuplicateKey", "auto", R"({"text":"a","m":{"k":1,"k":2}})", "\"k\""},
        BadLine{"InvalidUtf8", "auto", "{\"text\":\"a\xff\"}", "not valid JSON"},
        BadLine{"OverlongUtf8", "auto", "{\"text\":\"\xc0\xaf\"}", "not valid JSON"},
        BadLine{"EncodedSurrogate", "auto", "{\"text\":\"\xed\xa0\x80\"}", "not valid JSON"},
        BadLine{"LoneHighSurrogate", "auto", R"({"text":"\ud800"})", "not valid JSON"},
        BadLine{"LoneLowSurrogate", "auto", R"({"text":"\udc00"})", "not valid JSON"},
        BadLine{"Bom", "auto", "\xef\xbb\xbf{\"text\":\"a\"}", "not valid JSON"},
        BadLine{"Nul", "auto", std::string("{\"text\":\"a\0\"}", 12), "not valid JSON"},
        BadLine{"NaN", "auto", R"({"text":"a","x":NaN})", "not valid JSON"},
        BadLine{"Infinity", "auto", R"({"text":"a","x":-Infinity})", "not valid JSON"},
        BadLine{"HugeNumber", "auto", R"({"text":"a","x":1e999})", "not valid JSON"},
        BadLine{"LeadingZero", "auto", R"({"text":"a","x":01})", "not valid JSON"},
        BadLine{"Depth", "auto", nested(100'000), "not valid JSON"},
        BadLine{"UnknownKeys", "auto", R"({"question":"a"})", "question"},
        BadLine{"NoKeys", "auto", "{}", "(none)"},
        BadLine{"TextMissing", "text", R"({"messages":[]})", "\"text\" is missing"},
        BadLine{"TextIsNumber", "auto", R"({"text":1})", "\"text\" is int"},
        BadLine{"TextIsNull", "auto", R"({"text":null})", "\"text\" is none"},
        BadLine{"MessagesEmpty", "auto", R"({"messages":[]})", "is empty"},
        BadLine{"MessagesIsText", "auto", R"({"messages":"a"})", "list of messages"},
        BadLine{"MessageIsText", "auto", R"({"messages":["a"]})", "\"messages\"[0]"},
        BadLine{"RoleMissing", "auto", R"({"messages":[{"content":"a"}]})", "no \"role\""},
        BadLine{"RoleIsNumber", "auto", R"({"messages":[{"role":1,"content":"a"}]})", "\"role\""},
        BadLine{"ContentMissing", "auto", R"({"messages":[{"role":"user"}]})", "no \"content\""},
        BadLine{"ContentIsNull", "auto", R"({"messages":[{"role":"user","content":null}]})", "\"content\""},
        BadLine{"ContentIsNumber", "auto", R"({"messages":[{"role":"user","content":1}]})", "\"content\""},
        BadLine{"PairOfTwoKinds", "auto",
                R"({"prompt":"a","completion":[{"role":"assistant","content":"b"}]})", "both be text"},
        BadLine{"PairWithoutCompletion", "prompt_completion", R"({"prompt":"a"})",
                "\"completion\" is missing"},
        BadLine{"PreferenceWithoutRejected", "preference", R"({"prompt":"a","chosen":"b"})",
                "\"rejected\" is missing"},
        BadLine{"PreferenceWithoutChosen", "preference", R"({"prompt":"a","rejected":"b"})",
                "\"chosen\" is missing"},
        BadLine{"ToolsIsNumber", "auto", R"({"messages":[{"role":"user","content":"x"}],"tools":1})",
                "\"tools\""},
        BadLine{"ToolsIsBadJson", "auto", R"({"messages":[{"role":"user","content":"x"}],"tools":"{"})",
                "\"tools\""}),
    [](const auto& info) { return std::string(info.param.name); });

struct OddLine {
  const char *name, *json;
  Record::Kind kind;
};

/// Records that look wrong and are not: what they hold is for the template and the mask to judge.
TEST(Record, TakesWhatIsOddButClear) {
  const std::string long_text(10 << 20, 'x');
  const std::string long_line = R"({"messages":[{"role":"user","content":")" + long_text + "\"}]}";
  const std::vector<OddLine> rows = {
      {"extra fields", R"({"text":"a","url":null,"meta":{"x":[1]}})", Record::Kind::kText},
      {"unknown role", R"({"messages":[{"role":"critic","content":"a"}]})", Record::Kind::kChat},
      {"roles that do not alternate",
       R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})", Record::Kind::kChat},
      {"only a system message", R"({"messages":[{"role":"system","content":"a"}]})", Record::Kind::kChat},
      {"content in parts", R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]})",
       Record::Kind::kChat},
      {"content of 10 MB", long_line.c_str(), Record::Kind::kChat},
      {"arguments as text",
       R"({"messages":[{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}]})",
       Record::Kind::kChat},
      {"arguments as an object",
       R"({"messages":[{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}]})",
       Record::Kind::kChat},
      {"special tokens as data", R"({"text":"<|im_end|><s>{{ x }}\u0000"})", Record::Kind::kText},
      {"numbers at the edge",
       R"({"text":"a","x":[9223372036854775807,-9223372036854775808,1e308,-0,2e-308]})", Record::Kind::kText},
  };
  for (const OddLine& row : rows) EXPECT_EQ(parse_record(row.json, "auto").kind, row.kind) << row.name;
}

TEST(Record, SaysWhereItsJsonBreaks) {
  EXPECT_NE(error_of([] { parse_record(R"({"text": tru})", "auto"); }).find("byte"), std::string::npos);
}

TEST(Record, KeepsNumbersThatFitAndALineSeparatorInsideAString) {
  EXPECT_EQ(parse_record("{\"text\":\"a\u2028b\",\"n\":-0,\"m\":9007199254740993,\"f\":1e2}", "auto").text,
            "a\u2028b");
}

}  // namespace
}  // namespace phalanx::data
