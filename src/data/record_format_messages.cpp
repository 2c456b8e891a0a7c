#include "data/record_formats.h"

namespace phalanx::data {

RecordFormat messages_format() {
  RecordFormat format;
  format.name = "messages";
  format.keys = "messages (role, content)";
  format.matches = [](const jinja::Dict& object) {
    return object.find("messages") != nullptr || object.find("conversations") != nullptr;
  };
  format.read = [](const jinja::Dict& object) {
    const char* name = object.find("messages") == nullptr && object.find("conversations") != nullptr
                           ? "conversations"
                           : "messages";
    return chat_record(required_messages(object, name).items(), 0, optional_tools(object));
  };
  return format;
}

}  // namespace phalanx::data
