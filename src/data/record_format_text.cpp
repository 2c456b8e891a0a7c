#include "data/record_formats.h"

namespace phalanx::data {

RecordFormat text_format() {
  RecordFormat format;
  format.name = "text";
  format.keys = "text";
  format.matches = [](const jinja::Dict& object) { return object.find("text") != nullptr; };
  format.read = [](const jinja::Dict& object) {
    Record record;
    record.text = required_text(object, "text");
    return record;
  };
  return format;
}

}  // namespace phalanx::data
