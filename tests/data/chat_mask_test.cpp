#include <gtest/gtest.h>

#include "data/jinja_error.h"
#include "data_test_util.h"
#include "fake_tokenizer.h"

namespace phalanx::data {
namespace {

const char* const kTwoTurns =
    R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"},{"role":"user","content":"Bye"},{"role":"assistant","content":"See you"}])";

Record chat(const std::string& messages) {
  return parse_record("{\"messages\":" + messages + "}", "messages");
}

ExampleBuilder builder(const Tokenizer& tokenizer, const std::string& source,
                       const std::string& loss_on = "assistant", const std::string& special = "parse") {
  return ExampleBuilder(tokenizer, {loss_on, special, source, true});
}

std::string chatml() {
  return read_text(golden_path("smollm2.jinja"));
}

constexpr const char* kSmolSystem =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";

TEST(ChatMask, OfSmolLm2CoversEveryAnswerWithItsEndTokenButNotTheNewlineBehindIt) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example = builder(tokenizer, chatml()).build(chat(kTwoTurns));
  EXPECT_EQ(marked(example, tokenizer),
            std::string(kSmolSystem) +
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[Hello<|im_end|>]\n"
                "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n[See you<|im_end|>]\n");
  EXPECT_EQ(example.num_straddling, 0);
  EXPECT_FALSE(example.special_text_in_content);
}

TEST(ChatMask, OfLastTurnAndCompletionIsTheLastAnswerOnly) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  for (const char* loss_on : {"last_turn", "completion"}) {
    const std::string text = marked(builder(tokenizer, chatml(), loss_on).build(chat(kTwoTurns)), tokenizer);
    EXPECT_NE(text.find("assistant\nHello<|im_end|>"), std::string::npos) << text;
    EXPECT_NE(text.find("[See you<|im_end|>]"), std::string::npos) << text;
  }
}

TEST(ChatMask, OfAllCoversEveryToken) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example = builder(tokenizer, chatml(), "all").build(chat(kTwoTurns));
  EXPECT_EQ(std::count(example.mask.begin(), example.mask.end(), 1),
            static_cast<int64_t>(example.ids.size()));
}

TEST(ChatMask, OfLlama3IsTheSameWithAndWithoutGenerationMarks) {
  const FakeTokenizer tokenizer = llama3_tokenizer();
  const std::string expected =
      "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<"
      "|end_header_id|>\n\n[Hello<|eot_id|>]"
      "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
      "\n\n[See you<|eot_id|>]";
  for (const char* name : {"llama3.jinja", "llama3_marked.jinja"}) {
    EXPECT_EQ(marked(builder(tokenizer, read_text(golden_path(name))).build(chat(kTwoTurns)), tokenizer),
              expected)
        << name;
  }
}

TEST(ChatMask, CountsBytesWhereTheTextIsNotAscii) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example =
      builder(tokenizer, chatml())
          .build(chat(
              R"([{"role":"user","content":"\u00e9\ud83d\ude00"},{"role":"assistant","content":"\u00fc\u4e2d"}])"));
  EXPECT_EQ(
      marked(example, tokenizer),
      std::string(kSmolSystem) +
          "<|im_start|>user\n\u00e9\U0001f600<|im_end|>\n<|im_start|>assistant\n[\u00fc\u4e2d<|im_end|>]\n");
}

TEST(ChatMask, IsFoundWhereATemplateRewritesEarlierTurns) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example = builder(tokenizer, read_text(golden_path("thinking.jinja"))).build(chat(kTwoTurns));
  EXPECT_EQ(
      marked(example, tokenizer),
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[Hello<|im_end|>]\n"
      "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n[<think>\n\n</think>\n\nSee you<|im_end|>]\n");
}

TEST(ChatMask, TakesReasoningUnderAnyOfItsNames) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const std::string messages = fmt::format(
        R"([{{"role":"user","content":"Hi"}},{{"role":"assistant","{}":"deep","content":"Yes"}}])", name);
    EXPECT_NE(
        marked(builder(tokenizer, read_text(golden_path("thinking.jinja"))).build(chat(messages)), tokenizer)
            .find("[<think>\ndeep\n</think>\n\nYes<|im_end|>]"),
        std::string::npos)
        << name;
  }
}

TEST(ChatMask, AKeyOfAMessageThatIsNullIsNotThereForTheTemplate) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const char* source =
      "{% for m in messages %}{{ m.role }}:{{ m.content if m.content is defined else 'no content' }} "
      "{{ m.name | default('-') }}<|im_end|>{% endfor %}";
  const Example example =
      builder(tokenizer, source, "all")
          .build(chat(R"([{"role":"user","content":"Hi","name":null},{"role":"assistant","content":null,
                           "tool_calls":[{"type":"function","function":{"name":"f","arguments":{}}}]}])"));
  EXPECT_EQ(example.text, "user:Hi -<|im_end|>assistant:no content -<|im_end|>");
}

TEST(ChatMask, OfAConversationalPairLeavesThePromptsAnswersOut) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Record record = parse_record(
      R"({"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],
          "completion":[{"role":"assistant","content":"d"},{"role":"user","content":"e"},{"role":"assistant","content":"f"}]})",
      "auto");
  const std::string text = marked(builder(tokenizer, chatml(), "completion").build(record), tokenizer);
  EXPECT_NE(text.find("assistant\nb<|im_end|>"), std::string::npos) << text;
  EXPECT_NE(text.find("[d<|im_end|>]"), std::string::npos) << text;
  EXPECT_NE(text.find("[f<|im_end|>]"), std::string::npos) << text;
}

TEST(ChatMask, PromptForGenerationEndsWithTheGenerationPrompt) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example =
      builder(tokenizer, chatml()).build_prompt(json(R"([{"role":"user","content":"Hi"}])"), {});
  EXPECT_EQ(example.text,
            std::string(kSmolSystem) + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatMask, IsFoundWhereTheGenerationPromptOpensAThoughtThatTurnsLack) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example =
      builder(tokenizer,
              "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
              "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}")
          .build(chat(R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"<b>Yes"}])"));
  EXPECT_EQ(marked(example, tokenizer),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[<b>Yes<|im_end|>]\n");
}

TEST(ChatMask, TakesMarksThatTouchForOneTurn) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example =
      builder(tokenizer,
              "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
              "{% endgeneration %}{% generation %}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}\n"
              "{% endif %}{% endfor %}")
          .build(chat(kTwoTurns));
  EXPECT_EQ(marked(example, tokenizer), "Hi\n[Hello<|im_end|>]Bye\n[See you<|im_end|>]");
}

TEST(ChatMask, ChecksMarksOfATemplateForPartsWithParts) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const char* const source =
      "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{% for p in m.content %}"
      "{{ p.text }}{% endfor %}<|im_end|>{% endgeneration %}{% else %}{% for p in m.content %}{{ p.text }}"
      "{% endfor %}{% endif %}{% endfor %}";
  const Example example =
      builder(tokenizer, source).build(chat(R"([{"role":"user","content":[{"type":"text","text":"Hi"}]},
                                              {"role":"assistant","content":[{"type":"text","text":"Yes"}]}])"));
  EXPECT_EQ(marked(example, tokenizer), "Hi[Yes<|im_end|>]");
}

TEST(ChatMask, OfAConversationThatBeginsWithTheAssistantSaysWhyItIsNotFound) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const std::string message = error_of([&] {
    builder(tokenizer,
            "{{ messages[0].content[:0] }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
        .build(chat(R"([{"role":"assistant","content":"Hello"}])"));
  });
  EXPECT_NE(message.find("cannot print the first 0 messages alone"), std::string::npos) << message;
}

TEST(ChatMask, LeavesOutAnswersThatTheRecordSaysAreNotLearned) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  for (const char* no : {R"("weight":0)", R"("train":false)", R"("weight":1,"train":false)"}) {
    const Record record = chat(
        std::string(R"([{"role":"user","content":"Hi","weight":0},{"role":"assistant","content":"Hello",)") +
        no +
        R"(},{"role":"user","content":"Bye"},{"role":"assistant","content":"See you","weight":1,"train":true}])");
    for (const char* loss_on : {"assistant", "last_turn"}) {
      const std::string text = marked(builder(tokenizer, chatml(), loss_on).build(record), tokenizer);
      EXPECT_NE(text.find("assistant\nHello<|im_end|>"), std::string::npos) << text;
      EXPECT_NE(text.find("[See you<|im_end|>]"), std::string::npos) << text;
    }
    const std::string message = error_of([&] { builder(tokenizer, chatml(), "all").build(record); });
    EXPECT_NE(message.find("message 1 is not to be learned"), std::string::npos) << message;
  }
  const std::string message = error_of([&] {
    builder(tokenizer, chatml())
        .build(chat(R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"x","weight":0}])"));
  });
  EXPECT_NE(message.find("no token to learn from"), std::string::npos) << message;
}

struct BadTemplate {
  const char *name, *source, *says;
};

class ChatMaskRefuses : public ::testing::TestWithParam<BadTemplate> {};

TEST_P(ChatMaskRefuses, TheTemplate) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const std::string message = error_of([&] { builder(tokenizer, GetParam().source).build(chat(kTwoTurns)); });
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Templates, ChatMaskRefuses,
    ::testing::Values(
        BadTemplate{"DropsTheAssistant",
                    "{% for m in messages if m.role == 'user' %}{{ m.content }}<|im_end|>\n{% endfor %}",
                    "stop token"},
        BadTemplate{"HasNoStopToken", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
                    "stop token"},
        BadTemplate{"MarksNothing",
                    "{% for m in messages %}{{ m.content }}<|im_end|>{% if m.role == 'nobody' %}{% "
                    "generation %}{% endgeneration %}{% endif %}{% endfor %}",
                    "leave out the assistant"},
        BadTemplate{
            "MarksTheUser",
            "{% for m in messages %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% endfor %}",
            "what the user says"},
        BadTemplate{"MarksAnEmptyTurn",
                    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content if "
                    "not loop.first and m.content != 'Hello' }}{% "
                    "endgeneration %}<|im_end|>{% else %}{{ m.content }}{% endif %}{% endfor %}",
                    "is empty"},
        BadTemplate{"MarksWithoutTheStopToken",
                    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% "
                    "endgeneration %}<|im_end|>{% else %}{{ m.content "
                    "}}{% endif %}{% endfor %}",
                    "stop token"},
        BadTemplate{"MarksOnlyTheLastTurn",
                    "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}{% generation %}{{ "
                    "m.content }}<|im_end|>{% endgeneration %}{% else %}{{ "
                    "m.content }}{% endif %}{% endfor %}",
                    "marks 1 generations but the conversation has 2"},
        BadTemplate{"ChangesEverythingWithEachTurn",
                    "{{ messages | length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
                    "differently"},
        BadTemplate{"DoesNotParse", "{% for m in messages %}", "chat template, line 1"},
        BadTemplate{"RaisesAnException", "{{ raise_exception('roles must alternate') }}",
                    "roles must alternate"},
        BadTemplate{"MarksInsideAMacro",
                    "{% macro m(x) %}{% generation %}{{ x }}{% endgeneration %}{% endmacro %}{{ m('a') }}",
                    "inside a macro"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ChatMask, NeedsAnAnswer) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const std::string message =
      error_of([&] { builder(tokenizer, chatml()).build(chat(R"([{"role":"user","content":"Hi"}])")); });
  EXPECT_NE(message.find("no token to learn from"), std::string::npos);
}

TEST(ChatMask, NeedsATemplate) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  error_of([&] { builder(tokenizer, "").build(chat(kTwoTurns)); }, core::ExitCode::kBadConfig);
}

TEST(SpecialText, InContentIsAControlTokenWhenParsed) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example =
      builder(tokenizer, chatml())
          .build(chat(R"([{"role":"user","content":"a<|im_end|>b"},{"role":"assistant","content":"c"}])"));
  EXPECT_TRUE(example.special_text_in_content);
  EXPECT_EQ(std::count(example.ids.begin(), example.ids.end(), *tokenizer.token_to_id("<|im_end|>")), 4);
}

TEST(SpecialText, InContentIsPlainCharactersWhenLiteral) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const char* messages =
      R"([{"role":"user","content":"  a<|im_end|>b {{ x }} <|im_start|><|im_end|>"},{"role":"assistant","content":"<|im_end|>\n<|im_start|>user\nc"}])";
  const Example parsed = builder(tokenizer, chatml()).build(chat(messages));
  const Example literal = builder(tokenizer, chatml(), "assistant", "literal").build(chat(messages));
  EXPECT_TRUE(literal.special_text_in_content);
  EXPECT_EQ(literal.text, parsed.text);
  EXPECT_EQ(marked(literal, tokenizer),
            std::string(kSmolSystem) +
                "<|im_start|>user\n  a<|im_end|>b {{ x }} <|im_start|><|im_end|><|im_end|>\n"
                "<|im_start|>assistant\n[<|im_end|>\n<|im_start|>user\nc<|im_end|>]\n");
  EXPECT_EQ(std::count(literal.ids.begin(), literal.ids.end(), *tokenizer.token_to_id("<|im_end|>")), 3);
  EXPECT_EQ(std::count(literal.ids.begin(), literal.ids.end(), *tokenizer.token_to_id("<|im_start|>")), 3);
}

TEST(SpecialText, WithoutAnyIsEncodedTheSameInBothModes) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example parsed = builder(tokenizer, chatml()).build(chat(kTwoTurns));
  const Example literal = builder(tokenizer, chatml(), "assistant", "literal").build(chat(kTwoTurns));
  EXPECT_EQ(parsed.ids, literal.ids);
  EXPECT_EQ(parsed.mask, literal.mask);
}

TEST(SpecialText, AsNoncharactersOfTheContentIsKept) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Example example = builder(tokenizer, chatml(), "assistant", "literal")
                              .build(chat("[{\"role\":\"user\",\"content\":\"\ufdd0<|im_end|>\ufdd1\"},{"
                                          "\"role\":\"assistant\",\"content\":\"c\"}]"));
  EXPECT_NE(example.text.find("\ufdd0<|im_end|>\ufdd1"), std::string::npos);
}

TEST(PairMask, CoversTheCompletionAndEos) {
  const FakeTokenizer tokenizer = llama3_tokenizer();
  const Record record = parse_record(R"({"prompt":"2+2=","completion":"4"})", "auto");
  EXPECT_EQ(marked(builder(tokenizer, "", "completion").build(record), tokenizer),
            "<|begin_of_text|>2+2=[4<|end_of_text|>]");
  EXPECT_EQ(marked(builder(tokenizer, "", "all").build(record), tokenizer),
            "[<|begin_of_text|>2+2=4<|end_of_text|>]");
}

TEST(PairMask, DoesNotAddASecondEos) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  const Record record = parse_record(R"({"prompt":"a","completion":"b<|im_end|>"})", "auto");
  EXPECT_EQ(marked(builder(tokenizer, "", "completion").build(record), tokenizer), "a[b<|im_end|>]");
}

TEST(TextMask, CoversEverythingAndEos) {
  const FakeTokenizer tokenizer = chatml_tokenizer();
  EXPECT_EQ(marked(builder(tokenizer, "").build(parse_record(R"({"text":"abc"})", "auto")), tokenizer),
            "[abc<|im_end|>]");
  error_of([&] { builder(tokenizer, "").build(parse_record(R"({"text":""})", "auto")); });
}

}  // namespace
}  // namespace phalanx::data
