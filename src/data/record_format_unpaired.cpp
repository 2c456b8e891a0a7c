#include "core/error.h"
#include "data/record_formats.h"

namespace phalanx::data {

RecordFormat unpaired_format() {
  RecordFormat format;
  format.name = "unpaired_preference";
  format.keys = "prompt, completion, label";
  format.matches = [](const jinja::Dict& object) {
    return object.find("prompt") != nullptr && object.find("completion") != nullptr &&
           object.find("label") != nullptr;
  };
  format.read = [](const jinja::Dict& object) {
    Record record;
    record.kind = Record::Kind::kUnpaired;
    record.answers = {read_pair(object)};
    record.labels = {to_bool(required(object, "label"), "label")};
    return record;
  };
  return format;
}

}  // namespace phalanx::data
