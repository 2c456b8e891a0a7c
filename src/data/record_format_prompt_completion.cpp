#include "core/error.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

Record read_text_pair(const jinja::Dict& object) {
  Record record;
  record.kind = Record::Kind::kPair;
  record.prompt = required_text(object, "prompt");
  record.text = required_text(object, "completion");
  return record;
}

Record read_message_pair(const jinja::Dict& object) {
  std::vector<jinja::Value> messages = required_messages(object, "prompt").items();
  const size_t num_prompt = messages.size();
  const auto& completion = required_messages(object, "completion").items();
  messages.insert(messages.end(), completion.begin(), completion.end());
  return chat_record(std::move(messages), num_prompt, optional_tools(object));
}

}  // namespace

Record read_pair(const jinja::Dict& object) {
  const bool prompt_is_text = required(object, "prompt").is_text();
  if (prompt_is_text != required(object, "completion").is_text()) {
    core::fail(core::ExitCode::kBadInput,
               "\"prompt\" and \"completion\" must both be text or both be lists of messages");
  }
  return prompt_is_text ? read_text_pair(object) : read_message_pair(object);
}

RecordFormat prompt_completion_format() {
  RecordFormat format;
  format.name = "prompt_completion";
  format.keys = "prompt, completion";
  format.matches = [](const jinja::Dict& object) {
    return object.find("prompt") != nullptr && object.find("completion") != nullptr;
  };
  format.read = read_pair;
  return format;
}

}  // namespace phalanx::data
