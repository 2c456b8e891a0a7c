#include "core/error.h"
#include "data/record_formats.h"

namespace phalanx::data {

RecordFormat stepwise_format() {
  RecordFormat format;
  format.name = "stepwise";
  format.keys = "prompt, completions, labels";
  format.matches = [](const jinja::Dict& object) {
    return object.find("prompt") != nullptr && object.find("completions") != nullptr &&
           object.find("labels") != nullptr;
  };
  format.read = [](const jinja::Dict& object) {
    Record record;
    record.kind = Record::Kind::kStepwise;
    record.prompt = required_text(object, "prompt");
    const auto& steps = required_list(object, "completions");
    const auto& labels = required_list(object, "labels");
    if (steps.size() != labels.size()) {
      core::fail(core::ExitCode::kBadInput,
                 "there are {} \"completions\" but {} \"labels\"; each step needs one", steps.size(),
                 labels.size());
    }
    for (size_t i = 0; i < steps.size(); ++i) {
      if (!steps[i].is_text() || steps[i].text().empty())
        core::fail(core::ExitCode::kBadInput, "\"completions\"[{}] must be text, and not empty", i);
      record.steps.push_back(steps[i].text());
      record.labels.push_back(to_bool(labels[i], fmt::format("labels[{}]", i)));
    }
    return record;
  };
  return format;
}

}  // namespace phalanx::data
