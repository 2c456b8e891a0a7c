#include <gtest/gtest.h>

#include "data/judged_example.h"
#include "data/record.h"
#include "data_test_util.h"
#include "fake_tokenizer.h"

namespace phalanx::data {
namespace {

using Kind = Record::Kind;

Record read(const std::string& text) {
  return parse_record(text, "auto");
}

/// "role: content" of each message, one to a line; the prompt's in brackets.
std::string conversation(const Record& record) {
  std::string out;
  for (size_t i = 0; i < record.messages.items().size(); ++i) {
    const jinja::Dict& message = record.messages.items()[i].dict();
    const std::string line = message.find("role")->text() + ": " + jinja::str(*message.find("content"));
    out += (i > 0 ? "\n" : "") + (i < record.num_prompt_messages ? "[" + line + "]" : line);
  }
  return out;
}

struct Found {
  const char *name, *json, *format;
  Kind kind;
};

class RecordFormatFound : public ::testing::TestWithParam<Found> {};

TEST_P(RecordFormatFound, ByTheKeys) {
  const Record record = read(GetParam().json);
  EXPECT_EQ(record.format, GetParam().format);
  EXPECT_EQ(record.kind, GetParam().kind);
  EXPECT_EQ(parse_record(GetParam().json, GetParam().format).kind, GetParam().kind);
  EXPECT_FALSE(describe(record.kind).empty());
}

INSTANTIATE_TEST_SUITE_P(
    Keys, RecordFormatFound,
    ::testing::Values(
        Found{"ShareGpt", R"({"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]})",
              "sharegpt", Kind::kChat},
        Found{"ShareGptUnderMessages", R"({"messages":[{"from":"human","value":"a"}]})", "sharegpt",
              Kind::kChat},
        Found{"ShareGptPreference",
              R"({"conversations":[{"from":"human","value":"a"}],"chosen":{"from":"gpt","value":"b"},
                  "rejected":{"from":"gpt","value":"c"}})",
              "sharegpt", Kind::kPreference},
        Found{"ShareGptUnpaired",
              R"({"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"kto_tag":true})",
              "sharegpt", Kind::kUnpaired},
        Found{"Messages", R"({"messages":[{"role":"user","content":"a"}]})", "messages", Kind::kChat},
        Found{"Alpaca", R"({"instruction":"a","input":"","output":"b"})", "alpaca", Kind::kChat},
        Found{"AlpacaPreference", R"({"instruction":"a","input":"","chosen":"b","rejected":"c"})", "alpaca",
              Kind::kPreference},
        Found{"Preference", R"({"prompt":"a","chosen":"b","rejected":"c"})", "preference", Kind::kPreference},
        Found{"ImplicitPreference", R"({"chosen":"a b","rejected":"a c"})", "preference", Kind::kPreference},
        Found{"Unpaired", R"({"prompt":"a","completion":"b","label":true})", "unpaired_preference",
              Kind::kUnpaired},
        Found{"Stepwise", R"({"prompt":"a","completions":["b","c"],"labels":[true,false]})", "stepwise",
              Kind::kStepwise},
        Found{"Pair", R"({"prompt":"a","completion":"b"})", "prompt_completion", Kind::kPair},
        Found{"Tokens", R"({"input_ids":[1,2],"labels":[-100,2]})", "tokens", Kind::kTokens},
        Found{"Text", R"({"text":"a"})", "text", Kind::kText},
        Found{"Prompt", R"({"prompt":"a"})", "prompt", Kind::kPrompt},
        Found{"PromptWithAnswer", R"({"prompt":"a","answer":"b"})", "prompt", Kind::kPrompt},
        Found{"Verl",
              R"({"data_source":"gsm8k","prompt":[{"role":"user","content":"a"}],"ability":"math",
                  "reward_model":{"style":"rule","ground_truth":"7"},"extra_info":{"index":3}})",
              "prompt", Kind::kPrompt}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ShareGpt, SpeakersBecomeRolesAndTheSystemTextComesFirst) {
  const Record record = read(
      R"({"system":"s","conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"},
          {"from":"observation","value":"c"},{"from":"chatgpt","value":"d"},{"from":"user","value":"e"},
          {"from":"assistant","value":"f"}],"tools":"[{\"name\":\"t\"}]"})");
  EXPECT_EQ(conversation(record),
            "system: s\nuser: a\nassistant: b\ntool: c\nassistant: d\nuser: e\nassistant: f");
  EXPECT_EQ(record.tools.items().size(), 1u);
}

TEST(ShareGpt, CallsBecomeToolCallsOfTheAssistant) {
  const Record record = read(
      R"({"conversations":[{"from":"human","value":"a"},
          {"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"x\":1}}"},
          {"from":"function_call","value":"[{\"name\":\"g\",\"arguments\":\"{}\"},{\"name\":\"h\",\"arguments\":{}}]"}]})");
  const jinja::Dict& one = record.messages.items()[1].dict();
  EXPECT_EQ(one.find("role")->text(), "assistant");
  EXPECT_EQ(jinja::str(*one.find("tool_calls")),
            "[{'type': 'function', 'function': {'name': 'f', 'arguments': {'x': 1}}}]");
  EXPECT_EQ(record.messages.items()[2].dict().find("tool_calls")->items().size(), 2u);
}

TEST(Alpaca, IsAConversationWithItsHistory) {
  EXPECT_EQ(conversation(read(R"({"instruction":"i","input":"x","output":"o"})")),
            "user: i\nx\nassistant: o");
  EXPECT_EQ(conversation(read(R"({"instruction":"i","output":"o","input":null,"system":null})")),
            "user: i\nassistant: o");
  EXPECT_EQ(
      conversation(read(
          R"({"instruction":"i","input":"","output":"o","system":"s","history":[["a","b"],["c","d"]]})")),
      "system: s\nuser: a\nassistant: b\nuser: c\nassistant: d\nuser: i\nassistant: o");
  const Record preference = read(R"({"instruction":"i","input":"x","chosen":"c","rejected":"r"})");
  EXPECT_EQ(conversation(preference.answers[0]), "[user: i\nx]\nassistant: c");
  EXPECT_EQ(conversation(preference.answers[1]), "[user: i\nx]\nassistant: r");
}

TEST(Preference, TextPromptIsGivenOrWhatBothBeginWith) {
  const Record given = read(R"({"prompt":"The sky is","chosen":" blue.","rejected":" green."})");
  const Record shared = read(R"({"chosen":"The sky is blue.","rejected":"The sky is green."})");
  for (const Record& record : {given, shared}) {
    EXPECT_EQ(record.answers[0].prompt, "The sky is");
    EXPECT_EQ(record.answers[0].text, " blue.");
    EXPECT_EQ(record.answers[1].prompt, "The sky is");
    EXPECT_EQ(record.answers[1].text, " green.");
  }
  // The two answers part inside of a character: E3 81 82 and E3 81 84.
  const Record character = read("{\"chosen\":\"x\u3042\",\"rejected\":\"x\u3044\"}");
  EXPECT_EQ(character.answers[0].prompt, "x");
  EXPECT_EQ(character.answers[1].text, "\u3044");
}

TEST(Preference, MessagesOfThePromptAreGivenOrShared) {
  const char* const given =
      R"({"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"c"}],
          "rejected":{"role":"assistant","content":"r"}})";
  const char* const shared =
      R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"c"}],
          "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})";
  const char* const named =
      R"({"prompt":"q","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"c"}],
          "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})";
  const char* const text =
      R"({"prompt":"q","chosen":[{"role":"assistant","content":"c"}],
          "rejected":[{"role":"assistant","content":"r"}]})";
  for (const char* json : {given, shared, named, text}) {
    const Record record = read(json);
    EXPECT_EQ(conversation(record.answers[0]), "[user: q]\nassistant: c") << json;
    EXPECT_EQ(conversation(record.answers[1]), "[user: q]\nassistant: r") << json;
  }
}

TEST(Tokens, TargetsAreWhereEveryMaskSaysSo) {
  const auto mask = [](const std::string& fields) {
    return read("{\"input_ids\":[5,6,7,8]" + fields + "}").mask;
  };
  using Mask = std::vector<uint8_t>;
  EXPECT_EQ(mask(""), (Mask{1, 1, 1, 1}));
  EXPECT_EQ(mask(R"(,"labels":[-100,-100,7,8])"), (Mask{0, 0, 1, 1}));
  EXPECT_EQ(mask(R"(,"completion_mask":[0,1,1,1],"assistant_masks":[1,1,0,1])"), (Mask{0, 1, 0, 1}));
  EXPECT_EQ(mask(R"(,"attention_mask":null,"labels":null)"), (Mask{1, 1, 1, 1}));
  const Record padded =
      read(R"({"input_ids":[0,5,6,0],"attention_mask":[0,1,1,0],"labels":[-100,-100,6,-100]})");
  EXPECT_EQ(padded.ids, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(padded.mask, (Mask{0, 1}));
}

TEST(Prompt, KeepsWhatJudgesTheAnswer) {
  const Record verl = read(
      R"({"data_source":"gsm8k","prompt":[{"role":"system","content":"s"},{"role":"user","content":"a"}],"tools":[],
          "reward_model":{"style":"rule","ground_truth":"7"},"extra_info":{"index":3}})");
  EXPECT_EQ(conversation(verl), "[system: s]\n[user: a]");
  EXPECT_EQ(jinja::repr(verl.ground_truth), "'7'");
  EXPECT_EQ(jinja::repr(jinja::Value(verl.fields)),
            "{'data_source': 'gsm8k', 'reward_model': {'style': 'rule', 'ground_truth': '7'}, 'extra_info': "
            "{'index': 3}}");
  EXPECT_TRUE(verl.tools.is_list());
  for (const char* name : {"answer", "solution", "ground_truth"}) {
    const Record text = read(std::string(R"({"prompt":"1+1=",")") + name + R"(":2})");
    EXPECT_EQ(text.prompt, "1+1=");
    EXPECT_EQ(text.ground_truth.integer(), 2) << name;
  }
  EXPECT_TRUE(read(R"({"prompt":"a","reward_model":{"style":"model"}})").ground_truth.is_undefined());
}

TEST(Prompt, BecomesTokensWithoutATarget) {
  const FakeTokenizer tokenizer({"<s>", "<|im_start|>", "<|im_end|>"}, /*adds_bos=*/true);
  const ExampleBuilder builder(tokenizer,
                               {"assistant", "parse",
                                "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
                                "{% if add_generation_prompt %}assistant: {% endif %}",
                                true});
  const Example text = builder.build_prompt(read(R"({"prompt":"a"})"));
  EXPECT_EQ(marked(text, tokenizer), "<s>a");
  const Example chat = builder.build_prompt(read(R"({"prompt":[{"role":"user","content":"a"}]})"));
  EXPECT_EQ(marked(chat, tokenizer), "user: a<|im_end|>assistant: ");
  const std::string message =
      error_of([&] { builder.build(read(R"({"prompt":"a"})")); }, core::ExitCode::kBadConfig);
  EXPECT_NE(message.find("has a prompt and no answer"), std::string::npos) << message;
}

struct BadRecordOf {
  const char *name, *json, *says;
};

class RecordFormatRefuses : public ::testing::TestWithParam<BadRecordOf> {};

TEST_P(RecordFormatRefuses, TheRecord) {
  const std::string message = error_of([] { read(GetParam().json); });
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
  EXPECT_LT(message.size(), 500u);
}

INSTANTIATE_TEST_SUITE_P(
    Records, RecordFormatRefuses,
    ::testing::Values(
        BadRecordOf{"ShareGptUnknownSpeaker", R"({"conversations":[{"from":"narrator","value":"a"}]})",
                    "narrator"},
        BadRecordOf{"ShareGptTurnIsText", R"({"conversations":[{"from":"human","value":"a"},"b"]})",
                    "\"conversations\"[1]"},
        BadRecordOf{"ShareGptWithoutValue", R"({"conversations":[{"from":"human"}]})", "\"value\""},
        BadRecordOf{"ShareGptValueIsNumber", R"({"conversations":[{"from":"human","value":1}]})",
                    "\"value\""},
        BadRecordOf{"ShareGptFromIsNumber", R"({"conversations":[{"from":1,"value":"a"}]})", "\"from\""},
        BadRecordOf{"ShareGptSystemIsList", R"({"system":[],"conversations":[{"from":"human","value":"a"}]})",
                    "\"system\""},
        BadRecordOf{"ShareGptCallIsNoJson",
                    R"({"conversations":[{"from":"function_call","value":"call f"}]})", "not JSON"},
        BadRecordOf{"ShareGptCallHasNoName",
                    R"({"conversations":[{"from":"function_call","value":"{\"arguments\":{}}"}]})", "name"},
        BadRecordOf{"ShareGptCallIsEmpty", R"({"conversations":[{"from":"function_call","value":"[]"}]})",
                    "empty"},
        BadRecordOf{"ShareGptOnlyChosen",
                    R"({"conversations":[{"from":"human","value":"a"}],"chosen":{"from":"gpt","value":"b"}})",
                    "\"rejected\" is missing"},
        BadRecordOf{
            "ShareGptTagIsText",
            R"({"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"kto_tag":"good"})",
            "kto_tag"},
        BadRecordOf{"AlpacaInputIsNumber", R"({"instruction":"a","input":1,"output":"b"})", "\"input\""},
        BadRecordOf{"AlpacaOutputIsNull", R"({"instruction":"a","output":null})", "\"output\""},
        BadRecordOf{"AlpacaAsksNothing", R"({"instruction":"","input":"","output":"b"})", "are empty"},
        BadRecordOf{"AlpacaHistoryIsText", R"({"instruction":"a","output":"b","history":"x"})",
                    "\"history\""},
        BadRecordOf{"AlpacaHistoryOfThree", R"({"instruction":"a","output":"b","history":[["x","y","z"]]})",
                    "\"history\"[0]"},
        BadRecordOf{"ChosenIsRejected", R"({"prompt":"a","chosen":"b","rejected":"b"})", "the same"},
        BadRecordOf{
            "ChosenMessagesAreRejected",
            R"({"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"c"}],
                        "rejected":[{"role":"assistant","content":"c"}]})",
            "the same"},
        BadRecordOf{"RejectedIsEmpty", R"({"prompt":"a","chosen":"b","rejected":""})",
                    "\"rejected\" is empty"},
        BadRecordOf{"ChosenContinuesRejected", R"({"chosen":"a b c","rejected":"a b"})",
                    "\"rejected\" is empty"},
        BadRecordOf{"OnlyRejected", R"({"rejected":"a"})", "rejected"},
        BadRecordOf{"NothingShared", R"({"chosen":"a","rejected":"b"})", "do not begin"},
        BadRecordOf{"NoMessageShared",
                    R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"c"}],
                        "rejected":[{"role":"user","content":"p"},{"role":"assistant","content":"r"}]})",
                    "do not begin"},
        BadRecordOf{
            "PromptIsNotShared",
            R"({"prompt":"p","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"c"}],
                        "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})",
            "is not the last message"},
        BadRecordOf{"PromptIsRepeated",
                    R"({"prompt":[{"role":"user","content":"q"}],
                        "chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"c"}],
                        "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})",
                    "must begin with the assistant"},
        BadRecordOf{"PreferenceOfTwoKinds", R"({"prompt":"a","chosen":"b","rejected":[]})", "must both"},
        BadRecordOf{"ChosenIsNumber", R"({"prompt":"a","chosen":1,"rejected":2})", "\"chosen\""},
        BadRecordOf{"LabelIsText", R"({"prompt":"a","completion":"b","label":"yes"})", "\"label\""},
        BadRecordOf{"LabelIsTwo", R"({"prompt":"a","completion":"b","label":2})", "\"label\""},
        BadRecordOf{"StepsAndLabelsDiffer", R"({"prompt":"a","completions":["b"],"labels":[true,false]})",
                    "1 \"completions\" but 2 \"labels\""},
        BadRecordOf{"StepIsEmpty", R"({"prompt":"a","completions":[""],"labels":[true]})",
                    "\"completions\"[0]"},
        BadRecordOf{"StepsAreText", R"({"prompt":"a","completions":"b","labels":[true]})", "\"completions\""},
        BadRecordOf{"NoSteps", R"({"prompt":"a","completions":[],"labels":[]})", "is empty"},
        BadRecordOf{"IdIsText", R"({"input_ids":[1,"2"]})", "\"input_ids\"[1]"},
        BadRecordOf{"IdIsNegative", R"({"input_ids":[1,-2]})", "\"input_ids\"[1]"},
        BadRecordOf{"IdIsHuge", R"({"input_ids":[1,4294967296]})", "\"input_ids\"[1]"},
        BadRecordOf{"IdsAreEmpty", R"({"input_ids":[]})", "is empty"},
        BadRecordOf{"IdsAreText", R"({"input_ids":"1 2"})", "\"input_ids\""},
        BadRecordOf{"LabelsAreShifted", R"({"input_ids":[1,2,3],"labels":[2,3,-100]})", "not shifted"},
        BadRecordOf{"LabelsAreFewer", R"({"input_ids":[1,2,3],"labels":[1,2]})", "has 2 numbers"},
        BadRecordOf{"MaskIsTwo", R"({"input_ids":[1,2],"completion_mask":[0,2]})", "0 or 1"},
        BadRecordOf{"MaskHasAHole", R"({"input_ids":[1,2,3],"attention_mask":[1,0,1]})",
                    "\"attention_mask\"[1]"},
        BadRecordOf{"MaskLeavesOutAll", R"({"input_ids":[1,2],"attention_mask":[0,0]})", "every token"},
        BadRecordOf{"SeveralSamples", R"({"input_ids":[1,2],"seq_lengths":[1,1]})", "data.packing"},
        BadRecordOf{"CallWithoutName",
                    R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":{}}}]}]})",
                    "name"},
        BadRecordOf{"CallsAreText", R"({"messages":[{"role":"assistant","tool_calls":"call f"}]})",
                    "\"tool_calls\""},
        BadRecordOf{
            "CallArgumentsAreNoJson",
            R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"x=1"}}]}]})",
            "arguments"},
        BadRecordOf{"PromptIsNumber", R"({"prompt":1})", "\"prompt\""},
        BadRecordOf{"PromptIsEmpty", R"({"prompt":""})", "\"prompt\" is empty"},
        BadRecordOf{"PromptEndsWithTheAssistant", R"({"prompt":[{"role":"assistant","content":"a"}]})",
                    "ends with the assistant"},
        BadRecordOf{"RewardModelIsText", R"({"prompt":"a","reward_model":"rule"})", "\"reward_model\""},
        BadRecordOf{"WeightIsAHalf", R"({"messages":[{"role":"assistant","content":"a","weight":0.5}]})",
                    "weight of \"messages\"[0]"},
        BadRecordOf{"TrainIsANumber", R"({"messages":[{"role":"assistant","content":"a","train":2}]})",
                    "train of \"messages\"[0]"},
        BadRecordOf{"UserIsToBeLearned", R"({"messages":[{"role":"user","content":"a","train":true}]})",
                    "only the assistant's messages are learned"},
        BadRecordOf{"ReasoningIsList",
                    R"({"messages":[{"role":"assistant","content":"a","reasoning_content":["b"]}]})",
                    "\"reasoning_content\""}),
    [](const auto& info) { return std::string(info.param.name); });

const char* const kChatml =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

TEST(JudgedExample, MasksOfAPreferenceCoverTheAnswers) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const JudgedExampleBuilder builder(tokenizer, {"all", "parse", kChatml, false});
  const PreferenceExample chat = builder.preference(
      read(R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"yes"}],
               "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"no"}]})"));
  const std::string prompt = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(marked(chat.chosen, tokenizer), prompt + "[yes<|im_end|>\n]");
  EXPECT_EQ(marked(chat.rejected, tokenizer), prompt + "[no<|im_end|>\n]");
  EXPECT_EQ(chat.num_prompt_tokens, 20u);
  const PreferenceExample text = builder.preference(read(R"({"prompt":"a","chosen":"b","rejected":"c"})"));
  EXPECT_EQ(marked(text.rejected, tokenizer), "a[c<|im_end|>]");
  EXPECT_EQ(text.num_prompt_tokens, 1u);
}

TEST(JudgedExample, OfATextBeginsWhereTheTokensOfThePromptEnd) {
  const FakeTokenizer tokenizer = llama3_tokenizer();
  const JudgedExampleBuilder builder(tokenizer, {});
  const PreferenceExample text = builder.preference(read(R"({"prompt":"a","chosen":"b","rejected":"c"})"));
  EXPECT_EQ(text.num_prompt_tokens, 2u);  // BOS stands in front of it
  EXPECT_EQ(text.chosen.num_straddling, 0);
}

TEST(JudgedExample, OfAnUnpairedAnswerHasItsLabel) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const JudgedExampleBuilder builder(tokenizer, {});
  const UnpairedExample example = builder.unpaired(read(R"({"prompt":"a","completion":"b","label":false})"));
  EXPECT_EQ(marked(example.answer, tokenizer), "a[b<|im_end|>]");
  EXPECT_FALSE(example.is_desirable);
}

TEST(JudgedExample, OfStepsHasALabelAtTheEndOfEach) {
  const FakeTokenizer tokenizer = llama3_tokenizer();
  const JudgedExampleBuilder builder(tokenizer, {});
  const StepwiseExample example =
      builder.stepwise(read(R"({"prompt":"p","completions":["ab","c"],"labels":[true,false]})"));
  EXPECT_EQ(tokenizer.decode(example.ids, false), "<|begin_of_text|>pab\nc\n");
  const auto none = static_cast<int32_t>(-100);
  EXPECT_EQ(example.labels, (std::vector<int32_t>{none, none, none, none, 1, none, 0}));
}

TEST(JudgedExample, RefusesATemplateWhosePromptDependsOnTheAnswer) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const JudgedExampleBuilder builder(
      tokenizer, {"assistant", "parse",
                  "{{ messages[-1].content if messages[-1].role == 'assistant' }}{% for m in messages %}"
                  "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
                  "{% else %}{{ m.content }}{% endif %}{% endfor %}",
                  true});
  const std::string message = error_of([&] {
    builder.preference(read(R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"yes"}],
                 "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"no"}]})"));
  });
  EXPECT_NE(message.find("other tokens in front of the chosen"), std::string::npos);
}

TEST(TokensExample, KeepsIdsAndMaskAndChecksTheVocabulary) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const ExampleBuilder builder(tokenizer, {});
  const Example example = builder.build(read(R"({"input_ids":[97,98,99],"labels":[-100,-100,99]})"));
  EXPECT_EQ(marked(example, tokenizer), "ab[c]");
  EXPECT_EQ(example.text, "abc");
  EXPECT_NE(error_of([&] { builder.build(read(R"({"input_ids":[97,303]})")); }).find("has 303"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              builder.build(read(R"({"input_ids":[97,98],"labels":[-100,-100]})"));
            }).find("no token to learn from"),
            std::string::npos);
}

}  // namespace
}  // namespace phalanx::data
