#include "data/record.h"

#include <algorithm>

#include "core/error.h"
#include "data/json_value.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

using jinja::Value;

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadInput, format, std::forward<Args>(args)...);
}

const RecordFormat& find_format(const jinja::Dict& object, const std::string& name) {
  const auto& formats = record_formats();
  const auto found = std::find_if(formats.begin(), formats.end(), [&](const RecordFormat& format) {
    return name == "auto" ? format.matches(object) : format.name == name;
  });
  if (found != formats.end()) return *found;
  std::string keys, known;
  for (const auto& item : object.items()) keys += (keys.empty() ? "" : ", ") + jinja::str(item.first);
  for (const RecordFormat& format : formats) known += (known.empty() ? "" : "; ") + format.keys;
  bad("no known format has the keys {}; known are {}", keys.empty() ? "(none)" : core::printable(keys),
      known);
}

/// [{"function": {"name", "arguments"}}], or name and arguments without "function" around them.
void check_tool_calls(const Value& calls, const std::string& place) {
  if (calls.is_none()) return;
  if (!calls.is_list())
    bad("the \"tool_calls\" of {} is {} but must be a list", place, jinja::type_name(calls));
  for (const Value& call : calls.items()) {
    const Value* function = call.is_dict() ? call.dict().find("function") : nullptr;
    if (function == nullptr) function = &call;
    const Value* name = function->is_dict() ? function->dict().find("name") : nullptr;
    if (name == nullptr || !name->is_text() || name->text().empty())
      bad("a call in the \"tool_calls\" of {} has no function with a name", place);
    const Value* arguments = function->dict().find("arguments");
    if (arguments == nullptr || arguments->is_dict() || arguments->is_none()) continue;
    Value parsed;
    JsonProblem problem;
    if (!arguments->is_text() || !parse_json(arguments->text(), &parsed, &problem) || !parsed.is_dict()) {
      bad("the arguments of the call of {} in {} must be an object, or JSON text of one",
          core::printable(name->text(), 40), place);
    }
  }
}

void check_reasoning(const jinja::Dict& message, const std::string& place) {
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* value = message.find(name);
    if (value != nullptr && !value->is_none() && !value->is_text())
      bad("the \"{}\" of {} is {} but must be text", name, place, jinja::type_name(*value));
  }
}

/// `weight` and `train` say of an answer whether it is learned; whatever else speaks is not learned anyway.
void check_learning(const jinja::Dict& message, const std::string& role, const std::string& place) {
  for (const char* name : {"weight", "train"}) {
    if (!has_field(message, name)) continue;
    const bool wanted = to_bool(*message.find(name), fmt::format("{} of {}", name, place));
    if (wanted && role != "assistant") {
      bad("the \"{}\" of {} asks for learning what {} says; only the assistant's messages are learned: leave "
          "it out "
          "or set it to 0",
          name, place, core::printable(role, 40));
    }
  }
}

void check_message(const Value& message, const std::string& place) {
  if (!message.is_dict())
    bad("{} is {} but must be an object with role and content", place, jinja::type_name(message));
  const Value* role = message.dict().find("role");
  if (role == nullptr) bad("{} has no \"role\"", place);
  if (!role->is_text() || role->text().empty())
    bad("the \"role\" of {} is {} but must be text", place, jinja::type_name(*role));
  const Value* content = message.dict().find("content");
  const Value* calls = message.dict().find("tool_calls");
  const bool is_call = calls != nullptr;
  if (is_call) check_tool_calls(*calls, place);
  check_reasoning(message.dict(), place);
  check_learning(message.dict(), role->text(), place);
  if (content == nullptr && is_call) return;
  if (content == nullptr) bad("{} has no \"content\"", place);
  if (content->is_none() && is_call) return;
  if (!content->is_text() && !content->is_list()) {
    bad("the \"content\" of {} is {} but must be text or a list of parts", place, jinja::type_name(*content));
  }
}

}  // namespace

const std::vector<RecordFormat>& record_formats() {
  // In the order in which `auto` asks them: those with more keys come before those whose keys they share.
  static const std::vector<RecordFormat> formats = {sharegpt_format(),   messages_format(),
                                                    preference_format(), unpaired_format(),
                                                    stepwise_format(),   prompt_completion_format(),
                                                    alpaca_format(),     tokens_format(),
                                                    text_format(),       prompt_format()};
  return formats;
}

std::string_view describe(Record::Kind kind) {
  switch (kind) {
    case Record::Kind::kText:
      return "plain text, to learn from whole";
    case Record::Kind::kPair:
      return "a prompt and the text that completes it";
    case Record::Kind::kChat:
      return "a conversation, rendered by the chat template";
    case Record::Kind::kTokens:
      return "token ids";
    case Record::Kind::kPreference:
      return "a chosen and a rejected answer, for preference methods; not for sft";
    case Record::Kind::kUnpaired:
      return "an answer that is wanted or not, for preference methods; not for sft";
    case Record::Kind::kStepwise:
      return "an answer whose steps are right or wrong, for reward models of steps; not for sft";
    case Record::Kind::kPrompt:
      return "a prompt whose answers are sampled and judged, for reinforcement learning; not for sft";
  }
  return "";
}

bool is_learned(const Value& message) {
  for (const char* name : {"weight", "train"})
    if (has_field(message.dict(), name) && !to_bool(*message.dict().find(name), name)) return false;
  return true;
}

std::vector<std::string> record_format_names() {
  std::vector<std::string> names;
  for (const RecordFormat& format : record_formats()) names.push_back(format.name);
  return names;
}

Record read_record(const Value& value, const std::string& format) {
  if (!value.is_dict()) bad("the record is {} but must be an object", jinja::type_name(value));
  const RecordFormat& known = find_format(value.dict(), format);
  Record record = known.read(value.dict());
  record.format = known.name;
  return record;
}

Record parse_record(std::string_view json, const std::string& format) {
  return read_record(parse_record_json(json), format);
}

bool has_field(const jinja::Dict& object, const char* name) {
  const Value* value = object.find(name);
  return value != nullptr && !value->is_none();
}

const Value& required(const jinja::Dict& object, const std::string& name) {
  const Value* value = object.find(std::string_view(name));
  if (value == nullptr) bad("the field \"{}\" is missing", name);
  return *value;
}

const std::string& required_text(const jinja::Dict& object, const std::string& name) {
  const Value& value = required(object, name);
  if (!value.is_text()) bad("\"{}\" is {} but must be text", name, jinja::type_name(value));
  return value.text();
}

std::string optional_text(const jinja::Dict& object, const std::string& name) {
  return has_field(object, name.c_str()) ? required_text(object, name) : std::string();
}

const std::vector<Value>& required_list(const jinja::Dict& object, const std::string& name) {
  const Value& value = required(object, name);
  if (!value.is_list()) bad("\"{}\" is {} but must be a list", name, jinja::type_name(value));
  if (value.items().empty()) bad("\"{}\" is empty", name);
  return value.items();
}

bool to_bool(const Value& value, const std::string& name) {
  if (value.is_bool()) return value.boolean();
  if (value.is_int() && (value.integer() == 0 || value.integer() == 1)) return value.integer() == 1;
  if (value.is_text()) {
    for (const char* word : {"true", "True", "TRUE", "1"})
      if (value.text() == word) return true;
    for (const char* word : {"false", "False", "FALSE", "0"})
      if (value.text() == word) return false;
  }
  bad("\"{}\" is {} but must be true or false", name, core::printable(jinja::repr(value), 40));
}

void check_messages(const Value& messages, const std::string& name) {
  if (!messages.is_list())
    bad("\"{}\" is {} but must be a list of messages", name, jinja::type_name(messages));
  if (messages.items().empty()) bad("\"{}\" is empty", name);
  for (size_t i = 0; i < messages.items().size(); ++i)
    check_message(messages.items()[i], fmt::format("\"{}\"[{}]", name, i));
}

const Value& required_messages(const jinja::Dict& object, const std::string& name) {
  const Value& value = required(object, name);
  check_messages(value, name);
  return value;
}

Value optional_tools(const jinja::Dict& object) {
  const Value* tools = object.find("tools");
  if (tools == nullptr || tools->is_none()) return Value();
  if (tools->is_list()) return *tools;
  if (!tools->is_text()) bad("\"tools\" is {} but must be a list", jinja::type_name(*tools));
  if (tools->text().empty()) return Value();
  Value parsed;
  JsonProblem problem;
  if (!parse_json(tools->text(), &parsed, &problem))
    bad("\"tools\" is text that is not JSON: {}", problem.reason);
  if (!parsed.is_list()) bad("\"tools\" holds {} but must be a list", jinja::type_name(parsed));
  return parsed;
}

Value make_message(const std::string& role, const std::string& content) {
  jinja::Dict message;
  message.set("role", role);
  message.set("content", content);
  return Value(std::move(message));
}

Record chat_record(std::vector<Value> messages, size_t num_prompt, const Value& tools) {
  Record record;
  record.kind = Record::Kind::kChat;
  record.messages = Value(std::move(messages));
  record.num_prompt_messages = num_prompt;
  record.tools = tools;
  return record;
}

}  // namespace phalanx::data
