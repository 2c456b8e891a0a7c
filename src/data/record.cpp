#include "data/record.h"

#include <fmt/format.h>

#include <functional>
#include <map>

#include "core/error.h"
#include "data/json_value.h"

namespace phalanx::data {
namespace {

using jinja::Value;

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadInput, format, std::forward<Args>(args)...);
}

const Value& field(const Value& object, const char* name) {
  const Value* value = object.dict().find(name);
  if (!value) bad("the field \"{}\" is missing", name);
  return *value;
}

void check_text(const Value& object, const char* name) {
  const Value& value = field(object, name);
  if (!value.is_text()) bad("\"{}\" is {} but must be text", name, jinja::type_name(value));
}

void check_messages(const Value& value, const char* name) {
  if (!value.is_list()) bad("\"{}\" is {} but must be a list of messages", name, jinja::type_name(value));
  if (value.items().empty()) bad("\"{}\" is empty", name);
  for (size_t i = 0; i < value.items().size(); ++i) {
    const Value& message = value.items()[i];
    if (!message.is_dict()) bad("\"{}\"[{}] is {} but must be an object with role and content", name, i, jinja::type_name(message));
    const Value* role = message.dict().find("role");
    if (!role || !role->is_text()) bad("\"{}\"[{}] has no \"role\"", name, i);
    const Value* content = message.dict().find("content");
    const bool is_call = message.dict().find("tool_calls") != nullptr;
    if (!is_call && (!content || !(content->is_text() || content->is_list()))) bad("\"{}\"[{}] has no \"content\"", name, i);
  }
}

bool is_messages(const Value& object) { return object.dict().find("messages") || object.dict().find("conversations"); }

void check_chat(const Value& object) {
  const char* name = object.dict().find("messages") ? "messages" : "conversations";
  check_messages(field(object, name), name);
}

void check_prompt_completion(const Value& object) {
  const Value& prompt = field(object, "prompt");
  const Value& completion = field(object, "completion");
  if (prompt.is_text() && completion.is_text()) return;
  if (prompt.is_text() || completion.is_text()) bad("\"prompt\" and \"completion\" must both be text or both be lists of messages");
  check_messages(prompt, "prompt");
  check_messages(completion, "completion");
}

struct Format {
  std::function<bool(const Value&)> matches;
  std::function<void(const Value&)> check;
};

const std::map<std::string, Format>& formats() {
  static const std::map<std::string, Format> table = {
      {"messages", {is_messages, check_chat}},
      {"prompt_completion",
       {[](const Value& o) { return o.dict().find("prompt") && o.dict().find("completion"); }, check_prompt_completion}},
      {"text", {[](const Value& o) { return o.dict().find("text") != nullptr; }, [](const Value& o) { check_text(o, "text"); }}},
  };
  return table;
}

}  // namespace

std::vector<std::string> record_formats() {
  std::vector<std::string> names;
  for (const auto& [name, format] : formats()) names.push_back(name);
  return names;
}

std::string detect_format(const Value& object) {
  if (!object.is_dict()) bad("the record is {} but must be an object", jinja::type_name(object));
  for (const auto& [name, format] : formats()) {
    if (format.matches(object)) return name;
  }
  std::string keys;
  for (const auto& [key, value] : object.dict().items()) keys += (keys.empty() ? "" : ", ") + core::printable(jinja::str(key), 40);
  bad("no known format has the keys {}; known are messages, prompt + completion, text", keys.empty() ? "(none)" : keys);
}

Record parse_record(std::string_view json, const std::string& format) {
  Value object;
  JsonProblem problem;
  if (!parse_json(json, &object, &problem)) bad("not valid JSON: {} at byte {}", problem.reason, problem.byte);
  if (!object.is_dict()) bad("the record is {} but must be an object", jinja::type_name(object));
  Record record{format == "auto" ? detect_format(object) : format, std::move(object)};
  formats().at(record.format).check(record.value);
  return record;
}

}  // namespace phalanx::data
