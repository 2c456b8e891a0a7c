#include "label/answer_edit.h"

#include "core/error.h"

namespace phalanx::label {
namespace {

/// The last message of the assistant with a text; null: there is none.
core::Json* edited_message(core::Json& answer) {
  for (auto message = answer.rbegin(); message != answer.rend(); ++message) {
    if ((*message)["role"] == "assistant" && message->contains("content") &&
        (*message)["content"].is_string())
      return &*message;
  }
  return nullptr;
}

std::string content_text(const core::Json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (const core::Json& part : content.is_array() ? content : core::Json::array()) {
    const bool is_text = part.is_object() && part.contains("text") && part["text"].is_string();
    text += is_text ? part["text"].get<std::string>() : core::to_text(part);
  }
  return text;
}

}  // namespace

std::optional<std::string> editable_text(const core::Json& answer) {
  if (answer.is_string()) return answer.get<std::string>();
  core::Json copy = answer;
  const core::Json* message = edited_message(copy);
  if (message == nullptr) return std::nullopt;
  return (*message)["content"].get<std::string>();
}

core::Json with_text(core::Json answer, const std::string& text) {
  if (answer.is_string()) return text;
  core::Json* message = edited_message(answer);
  if (message != nullptr) (*message)["content"] = text;
  return answer;
}

core::Json preference_row(const AnswerPair& pair, size_t chosen, const std::optional<std::string>& edit,
                          const std::string& labeller, double seconds, const std::string& time) {
  core::Json answer = pair.answers[chosen];
  const core::Json& other = pair.answers[1 - chosen];
  const std::optional<std::string> original = editable_text(answer);
  if (edit) {
    if (!original) core::fail(core::ExitCode::kBadInput, "this answer has no text that could be edited");
    if (edit->find_first_not_of(" \t\r\n") == std::string::npos)
      core::fail(core::ExitCode::kBadInput, "the edited answer is empty");
    answer = with_text(answer, *edit);
    if (answer == other)
      core::fail(core::ExitCode::kBadInput, "the edited answer is the same as the other one");
  }
  core::Json row = {{"prompt", pair.prompt}, {"chosen", answer}, {"rejected", other}};
  if (!pair.tools.is_null()) row["tools"] = pair.tools;
  row.update({{"labeller", labeller}, {"seconds", seconds}, {"time", time}, {"pair", pair.id}});
  if (edit && *edit != *original) row.update({{"edited", true}, {"original", *original}});
  return row;
}

core::Json to_view(const core::Json& text_or_messages) {
  core::Json view = core::Json::array();
  if (text_or_messages.is_string()) {
    view.push_back({{"role", ""}, {"text", text_or_messages}});
    return view;
  }
  for (const core::Json& message : text_or_messages) {
    core::Json shown = {{"role", message.at("role")},
                        {"text", message.contains("content") ? content_text(message["content"]) : ""}};
    if (message.contains("tool_calls") && !message["tool_calls"].is_null())
      shown["calls"] = core::to_text(message["tool_calls"], 2);
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      if (message.contains(name) && message[name].is_string()) shown["reasoning"] = message[name];
    }
    view.push_back(shown);
  }
  return view;
}

}  // namespace phalanx::label
