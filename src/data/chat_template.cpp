#include "data/chat_template.h"

#include "core/error.h"
#include "data/jinja_interpreter.h"
#include "data/jinja_parser.h"

namespace phalanx::data {
namespace {

using jinja::Value;

// strftime_now must not make two runs differ: templates see this date (2024-07-26, the one Llama 3.1's own examples use).
constexpr int64_t kFixedClock = 1721952000;

jinja::Variables variables(const Value& messages, const Value& tools, const RenderOptions& options) {
  jinja::Variables result = {{"messages", messages},
                             {"add_generation_prompt", Value(options.add_generation_prompt)},
                             {"bos_token", Value(options.bos_token)},
                             {"eos_token", Value(options.eos_token)}};
  result.emplace_back("tools", tools.is_undefined() ? Value(jinja::None{}) : tools);
  return result;
}

Value first_messages(const Value& messages, size_t count) {
  return Value(std::vector<Value>(messages.items().begin(), messages.items().begin() + static_cast<std::ptrdiff_t>(count)));
}

bool is_assistant(const Value& message) {
  const Value* role = message.dict().find("role");
  return role && role->is_text() && role->text() == "assistant";
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source)
    : program_(std::make_unique<const jinja::Program>(jinja::parse(source))),
      has_generation_marks_(source.find("endgeneration") != std::string::npos) {}

ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const Value& messages, const Value& tools, const RenderOptions& options) const {
  return jinja::Interpreter(*program_, variables(messages, tools, options), {}, kFixedClock).run().text;
}

RenderedChat ChatTemplate::render_with_turns(const Value& messages, const Value& tools, const RenderOptions& options) const {
  jinja::Rendered whole = jinja::Interpreter(*program_, variables(messages, tools, options), {}, kFixedClock).run();
  RenderedChat chat{std::move(whole.text), {}, {}};
  for (size_t i = 0; i < messages.items().size(); ++i) {
    if (is_assistant(messages.items()[i])) chat.turn_messages.push_back(i);
  }
  if (has_generation_marks_) {
    chat.turns = std::move(whole.generation);
    if (chat.turns.size() != chat.turn_messages.size()) {
      core::fail(core::ExitCode::kBadInput, "the chat template marks {} generations but the conversation has {} assistant turns",
                 chat.turns.size(), chat.turn_messages.size());
    }
    return chat;
  }
  RenderOptions prompt = options, answer = options;
  prompt.add_generation_prompt = true;
  answer.add_generation_prompt = false;
  for (const size_t i : chat.turn_messages) {
    const std::string before = render(first_messages(messages, i), tools, prompt);
    const bool is_last = i + 1 == messages.items().size() && !options.add_generation_prompt;
    const std::string after = is_last ? chat.text : render(first_messages(messages, i + 1), tools, answer);
    if (!after.starts_with(before) || !chat.text.starts_with(after)) {
      core::fail(core::ExitCode::kBadInput,
                 "the chat template renders message {} differently at the end of a conversation than inside it, so its assistant mask "
                 "cannot be found; put {{% generation %}} marks into model.chat_template or set data.loss_on: all",
                 i);
    }
    chat.turns.emplace_back(before.size(), after.size());
  }
  return chat;
}

}  // namespace phalanx::data
