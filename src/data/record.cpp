#include "data/record.h"

#include <algorithm>

#include "core/error.h"
#include "core/json.h"
#include "data/json_value.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

using jinja::Value;

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadInput, format, std::forward<Args>(args)...);
}

/// The fast parser does not say where; the strict one does.
[[noreturn]] void fail_json(std::string_view json, const std::string& reason) {
  core::parse_json(json, "not valid JSON");
  bad("not valid JSON: {}", reason);
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

void check_message(const Value& message, const std::string& place) {
  if (!message.is_dict())
    bad("{} is {} but must be an object with role and content", place, jinja::type_name(message));
  const Value* role = message.dict().find("role");
  if (role == nullptr) bad("{} has no \"role\"", place);
  if (!role->is_text() || role->text().empty())
    bad("the \"role\" of {} is {} but must be text", place, jinja::type_name(*role));
  const Value* content = message.dict().find("content");
  const bool is_call = message.dict().find("tool_calls") != nullptr;
  if (content == nullptr && is_call) return;
  if (content == nullptr) bad("{} has no \"content\"", place);
  if (content->is_none() && is_call) return;
  if (!content->is_text() && !content->is_list()) {
    bad("the \"content\" of {} is {} but must be text or a list of parts", place, jinja::type_name(*content));
  }
}

}  // namespace

const std::vector<RecordFormat>& record_formats() {
  static const std::vector<RecordFormat> formats = {messages_format(), prompt_completion_format(),
                                                    text_format()};
  return formats;
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
  Value value;
  JsonProblem problem;
  if (!parse_json(json, &value, &problem)) fail_json(json, problem.reason);
  return read_record(value, format);
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

const Value& required_messages(const jinja::Dict& object, const std::string& name) {
  const Value& value = required(object, name);
  if (!value.is_list()) bad("\"{}\" is {} but must be a list of messages", name, jinja::type_name(value));
  if (value.items().empty()) bad("\"{}\" is empty", name);
  for (size_t i = 0; i < value.items().size(); ++i)
    check_message(value.items()[i], fmt::format("\"{}\"[{}]", name, i));
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

}  // namespace phalanx::data
