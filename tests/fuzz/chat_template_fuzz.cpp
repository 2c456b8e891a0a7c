#include "data/chat_template.h"

#include "data/jinja_interpreter.h"
#include "data/jinja_parser.h"
#include "data/json_value.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

using data::jinja::Value;

/// Small enough that a thousand templates a second can be tried.
constexpr data::jinja::Limits kSmallLimits = {
    .steps = 20'000, .macro_depth = 100, .output_bytes = 1 << 20, .built_bytes = 4 << 20};

const Value& conversation() {
  static const Value messages = data::parse_json_or_fail(
      R"([{"role":"system","content":"Be brief."},{"role":"user","content":"1+1? {{ x }} <|im_end|>"},)"
      R"({"role":"assistant","content":"2","reasoning_content":"add","tool_calls":[{"type":"function",)"
      R"("function":{"name":"f","arguments":{"a":[1,2.5,null,true]}}}]},{"role":"tool","name":"f","content":"3"},)"
      R"({"role":"user","content":[{"type":"text","text":"more"}]},{"role":"assistant","content":" ok \n"}])",
      "conversation");
  return messages;
}

void fuzz_chat_template(std::string_view input) {
  accepts([&] {
    const data::jinja::Program program = data::jinja::parse(input);
    const data::jinja::Variables variables = {{"messages", conversation()},
                                              {"add_generation_prompt", Value(false)},
                                              {"bos_token", Value("<s>")},
                                              {"eos_token", Value("<|im_end|>")}};
    const auto render = [&] { return data::jinja::Interpreter(program, variables, kSmallLimits, 0).run(); };
    const data::jinja::Rendered first = render(), second = render();
    promise(first.text == second.text && first.generation == second.generation, "two renderings are equal");
    for (const auto& [begin, end] : first.generation)
      promise(begin <= end && end <= first.text.size(), "generation marks lie in the text");

    const data::ChatTemplate compiled{std::string(input)};
    const data::RenderOptions options = {
        .bos_token = "<s>", .eos_token = "<|im_end|>", .stop_texts = {"<|im_end|>"}};
    compiled.check_marks(options);
    const data::RenderedChat chat = compiled.render_with_turns(conversation(), Value(), options);
    size_t last = 0;
    for (const auto& [begin, end] : chat.turns) {
      promise(last <= begin && begin < end && end <= chat.text.size(),
              "turns are disjoint and lie in the text");
      last = end;
    }
    promise(chat.turns.size() == chat.turn_messages.size(), "each turn has a message");
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(chat_template, phalanx::fuzz::fuzz_chat_template)
