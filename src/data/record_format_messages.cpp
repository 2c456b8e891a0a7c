#include "data/record_formats.h"

namespace phalanx::data {

RecordFormat messages_format() {
  RecordFormat format;
  format.name = "messages";
  format.keys = "messages (list of role and content)";
  format.matches = [](const jinja::Dict& object) {
    return object.find("messages") != nullptr || object.find("conversations") != nullptr;
  };
  format.read = [](const jinja::Dict& object) {
    Record record;
    record.kind = Record::Kind::kChat;
    record.messages = required_messages(
        object, object.find("messages") == nullptr && object.find("conversations") != nullptr
                    ? "conversations"
                    : "messages");
    record.tools = optional_tools(object);
    return record;
  };
  return format;
}

}  // namespace phalanx::data
