#include <algorithm>
#include <array>
#include <map>

#include "core/error.h"
#include "data/json_value.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

using jinja::Dict;
using jinja::Value;

constexpr const char* kCall = "function_call";

/// `from` as it is found in the wild -> role of a message, or kCall.
const std::map<std::string, std::string, std::less<>>& roles() {
  static const std::map<std::string, std::string, std::less<>> names = {
      {"human", "user"},          {"user", "user"},         {"gpt", "assistant"},
      {"assistant", "assistant"}, {"chatgpt", "assistant"}, {"bing", "assistant"},
      {"bard", "assistant"},      {"model", "assistant"},   {"system", "system"},
      {"observation", "tool"},    {"tool", "tool"},         {"function_response", "tool"},
      {"tool_response", "tool"},  {kCall, kCall},           {"tool_call", kCall}};
  return names;
}

const std::string& role_of(const std::string& from, const std::string& place) {
  const auto found = roles().find(from);
  if (found != roles().end()) return found->second;
  std::string known;
  for (const auto& [name, role] : roles()) known += (known.empty() ? "" : ", ") + name;
  core::fail(core::ExitCode::kBadInput, "the \"from\" of {} is {}, which is no known speaker; known are {}",
             place, core::printable(from, 40), known);
}

/// {"name", "arguments"} of a call as an entry of `tool_calls`.
Value tool_call(const Value& call, const std::string& place) {
  const Value* name = call.is_dict() ? call.dict().find("name") : nullptr;
  if (name == nullptr || !name->is_text() || call.dict().find("arguments") == nullptr) {
    core::fail(core::ExitCode::kBadInput, "the call in {} must be JSON with name (text) and arguments",
               place);
  }
  Dict made;
  made.set("type", "function");
  made.set("function", call);
  return Value(std::move(made));
}

Value call_message(const std::string& text, const std::string& place) {
  const Value parsed = parse_json_or_fail(text, "the call in " + place + " is not JSON");
  const std::vector<Value> calls = parsed.is_list() ? parsed.items() : std::vector<Value>{parsed};
  std::vector<Value> made;
  for (const Value& call : calls) made.push_back(tool_call(call, place));
  if (made.empty()) core::fail(core::ExitCode::kBadInput, "the list of calls in {} is empty", place);
  Dict message;
  message.set("role", "assistant");
  message.set("content", "");
  message.set("tool_calls", Value(std::move(made)));
  return Value(std::move(message));
}

Value message_of(const Value& turn, const std::string& place) {
  if (!turn.is_dict()) {
    core::fail(core::ExitCode::kBadInput, "{} is {} but must be an object with from and value", place,
               jinja::type_name(turn));
  }
  const auto text = [&](const char* name) -> const std::string& {
    const Value* value = turn.dict().find(name);
    if (value == nullptr || !value->is_text())
      core::fail(core::ExitCode::kBadInput, "{} must have \"{}\", a text", place, name);
    return value->text();
  };
  const std::string& role = role_of(text("from"), place);
  return role == kCall ? call_message(text("value"), place) : make_message(role, text("value"));
}

const char* list_name(const Dict& object) {
  return object.find("conversations") == nullptr && object.find("messages") != nullptr ? "messages"
                                                                                       : "conversations";
}

std::vector<Value> read_turns(const Dict& object) {
  std::vector<Value> messages;
  const std::string system = optional_text(object, "system");
  if (!system.empty()) messages.push_back(make_message("system", system));
  const std::string name = list_name(object);
  const std::vector<Value>& turns = required_list(object, name);
  for (size_t i = 0; i < turns.size(); ++i)
    messages.push_back(message_of(turns[i], fmt::format("\"{}\"[{}]", name, i)));
  return messages;
}

Record with_answer(std::vector<Value> messages, const Dict& object, const char* name) {
  const size_t num_prompt = messages.size();
  const Value& answer = required(object, name);
  messages.push_back(answer.is_text() ? make_message("assistant", answer.text())
                                      : message_of(answer, fmt::format("\"{}\"", name)));
  return chat_record(std::move(messages), num_prompt, optional_tools(object));
}

Record unpaired(std::vector<Value> messages, const Dict& object) {
  const size_t num_prompt = messages.size() - 1;
  Record record;
  record.kind = Record::Kind::kUnpaired;
  record.labels = {to_bool(required(object, "kto_tag"), "kto_tag")};
  record.answers = {chat_record(std::move(messages), num_prompt, optional_tools(object))};
  return record;
}

}  // namespace

RecordFormat sharegpt_format() {
  RecordFormat format;
  format.name = "sharegpt";
  format.keys = "conversations (from, value)";
  format.matches = [](const Dict& object) {
    const Value* turns = object.find(list_name(object));
    return turns != nullptr && turns->is_list() && !turns->items().empty() && turns->items()[0].is_dict() &&
           turns->items()[0].dict().find("from") != nullptr;
  };
  format.read = [](const Dict& object) {
    std::vector<Value> messages = read_turns(object);
    if (has_field(object, "chosen") || has_field(object, "rejected"))
      return preference_record(with_answer(messages, object, "chosen"),
                               with_answer(messages, object, "rejected"));
    if (has_field(object, "kto_tag")) return unpaired(std::move(messages), object);
    return chat_record(std::move(messages), 0, optional_tools(object));
  };
  return format;
}

}  // namespace phalanx::data
