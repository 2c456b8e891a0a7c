#include "data/chat_template.h"

#include <algorithm>

#include "core/error.h"
#include "data/assistant_turns.h"
#include "data/jinja_interpreter.h"
#include "data/jinja_parser.h"

namespace phalanx::data {
namespace {

using jinja::Value;

// strftime_now must not make two runs differ: templates see this date (2024-07-26, the one Llama 3.1's own
// examples use).
constexpr int64_t kFixedClock = 1721952000;

const Value* reasoning_of(const jinja::Dict& message) {
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* found = message.find(name);
    if (found != nullptr && !found->is_none()) return found;
  }
  return nullptr;
}

/// The message as transformers gives it to a template: without the keys whose value is null (templates print
/// "None" for them, or fail, but know how to go without), and with its reasoning under both names that
/// templates read: `thinking` and `reasoning_content`.
Value prepared(const Value& message) {
  if (!message.is_dict()) return message;
  const Value* reasoning = reasoning_of(message.dict());
  jinja::Dict made;
  if (reasoning != nullptr) made.set("thinking", *reasoning);
  for (const auto& [key, value] : message.dict().items())
    if (!value.is_none()) made.set(key, value);
  if (reasoning != nullptr) made.set("reasoning_content", *reasoning);
  return Value(std::move(made));
}

bool is_as_prepared(const Value& message) {
  if (!message.is_dict()) return true;
  const auto& items = message.dict().items();
  return reasoning_of(message.dict()) == nullptr &&
         std::none_of(items.begin(), items.end(), [](const auto& item) { return item.second.is_none(); });
}

Value prepared_messages(const Value& messages) {
  if (!messages.is_list() || std::all_of(messages.items().begin(), messages.items().end(), is_as_prepared))
    return messages;
  std::vector<Value> made;
  for (const Value& message : messages.items()) made.push_back(prepared(message));
  return Value(std::move(made));
}

jinja::Variables variables(const Value& messages, const Value& tools, const RenderOptions& options) {
  jinja::Variables seen = {{"messages", prepared_messages(messages)},
                           {"tools", tools.is_undefined() ? Value(jinja::None{}) : tools},
                           {"documents", Value(jinja::None{})},
                           {"add_generation_prompt", Value(options.add_generation_prompt)}};
  const std::pair<const char*, const std::string&> special[] = {{"bos_token", options.bos_token},
                                                                {"eos_token", options.eos_token},
                                                                {"pad_token", options.pad_token},
                                                                {"unk_token", options.unk_token}};
  for (const auto& [name, text] : special)  // a token that the tokenizer lacks is undefined, not empty
    if (!text.empty()) seen.emplace_back(name, Value(text));
  return seen;
}

jinja::Rendered run(const jinja::Program& program, const Value& messages, const Value& tools,
                    const RenderOptions& options) {
  try {
    return jinja::Interpreter(program, variables(messages, tools, options), {}, kFixedClock).run();
  } catch (const jinja::TemplateError& error) {
    throw jinja::TemplateError(error.kind(), fmt::format("chat template, {}", error.what()));
  }
}

std::unique_ptr<const jinja::Program> compile(const std::string& source) {
  try {
    return std::make_unique<const jinja::Program>(jinja::parse(source));
  } catch (const jinja::TemplateError& error) {
    throw jinja::TemplateError(error.kind(), fmt::format("chat template, {}", error.what()));
  }
}

Value message(const char* role, const Value& content) {
  jinja::Dict made;
  made.set("role", role);
  made.set("content", content);
  return Value(std::move(made));
}

/// Two questions and answers of known words, as text or as a list with one part of text.
Value known_conversation(bool in_parts) {
  const auto content = [&](const char* words) {
    if (!in_parts) return Value(words);
    jinja::Dict part;
    part.set("type", "text");
    part.set("text", words);
    return Value(std::vector<Value>{Value(std::move(part))});
  };
  return Value(std::vector<Value>{
      message("user", content("first question")), message("assistant", content("first answer")),
      message("user", content("second question")), message("assistant", content("second answer"))});
}

/// Marks that touch are of one turn: some templates mark an answer and its end apart.
std::vector<ByteRange> joined_marks(const std::vector<ByteRange>& marks) {
  std::vector<ByteRange> turns;
  for (const ByteRange& mark : marks) {
    if (!turns.empty() && turns.back().second == mark.first)
      turns.back().second = mark.second;
    else
      turns.push_back(mark);
  }
  return turns;
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source) : program_(compile(source)) {}

ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const Value& messages, const Value& tools,
                                 const RenderOptions& options) const {
  return run(*program_, messages, tools, options).text;
}

RenderedChat ChatTemplate::render_with_turns(const Value& messages, const Value& tools,
                                             const RenderOptions& options) const {
  jinja::Rendered whole = run(*program_, messages, tools, options);
  RenderedChat chat{std::move(whole.text), {}, assistant_messages(messages)};
  if (program_->has_generation) {
    chat.turns = joined_marks(whole.generation);
    check_marked_turns(chat, options.stop_texts);
    return chat;
  }
  const auto render_part = [&](const Value& part, bool add_generation_prompt) {
    RenderOptions changed = options;
    changed.add_generation_prompt = add_generation_prompt;
    try {
      return render(part, tools, changed);
    } catch (const jinja::TemplateError& error) {
      throw jinja::TemplateError(
          error.kind(), fmt::format("the template cannot print the first {} messages alone, which is how the "
                                    "assistant's tokens are found: {}",
                                    part.items().size(), error.what()));
    }
  };
  for (const size_t index : chat.turn_messages) {
    chat.turns.push_back(find_turn(chat.text, messages, index, options, render_part));
  }
  return chat;
}

void ChatTemplate::check_marks(const RenderOptions& options) const {
  if (!program_->has_generation) return;
  jinja::Rendered rendered;
  try {
    rendered = run(*program_, known_conversation(/*in_parts=*/false), Value(), options);
    if (rendered.text.find("second answer") == std::string::npos)  // it prints lists of parts only
      rendered = run(*program_, known_conversation(/*in_parts=*/true), Value(), options);
  } catch (const jinja::TemplateError&) {
    return;  // a template for another kind of conversation: its records show what is wrong
  }
  std::string marked;
  for (const auto& [begin, end] : rendered.generation) marked += rendered.text.substr(begin, end - begin);
  const auto has = [&](const char* words) { return marked.find(words) != std::string::npos; };
  if (has("first question") || has("second question")) {
    core::fail(
        core::ExitCode::kBadInput,
        "chat template: its {{% generation %}} marks cover what the user says; mark the assistant only");
  }
  if (!has("second answer")) {
    core::fail(core::ExitCode::kBadInput,
               "chat template: its {{% generation %}} marks leave out the assistant's answer");
  }
}

}  // namespace phalanx::data
