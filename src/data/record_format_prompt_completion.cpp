#include "core/error.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

Record read_texts(const jinja::Dict& object) {
  Record record;
  record.kind = Record::Kind::kPair;
  record.prompt = required_text(object, "prompt");
  record.text = required_text(object, "completion");
  return record;
}

Record read_messages(const jinja::Dict& object) {
  Record record;
  record.kind = Record::Kind::kChat;
  std::vector<jinja::Value> messages = required_messages(object, "prompt").items();
  record.num_prompt_messages = messages.size();
  const auto& completion = required_messages(object, "completion").items();
  messages.insert(messages.end(), completion.begin(), completion.end());
  record.messages = jinja::Value(std::move(messages));
  record.tools = optional_tools(object);
  return record;
}

}  // namespace

RecordFormat prompt_completion_format() {
  RecordFormat format;
  format.name = "prompt_completion";
  format.keys = "prompt and completion (text, or lists of messages)";
  format.matches = [](const jinja::Dict& object) {
    return object.find("prompt") != nullptr && object.find("completion") != nullptr;
  };
  format.read = [](const jinja::Dict& object) {
    const bool prompt_is_text = required(object, "prompt").is_text();
    if (prompt_is_text != required(object, "completion").is_text()) {
      core::fail(core::ExitCode::kBadInput,
                 "\"prompt\" and \"completion\" must both be text or both be lists of messages");
    }
    return prompt_is_text ? read_texts(object) : read_messages(object);
  };
  return format;
}

}  // namespace phalanx::data
