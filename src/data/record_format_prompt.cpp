#include "core/error.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

using jinja::Dict;
using jinja::Value;

Value ground_truth_of(const Dict& object) {
  if (has_field(object, "reward_model")) {
    const Value& reward = required(object, "reward_model");
    if (!reward.is_dict()) {
      core::fail(core::ExitCode::kBadInput, "\"reward_model\" is {} but must be an object with ground_truth",
                 jinja::type_name(reward));
    }
    if (has_field(reward.dict(), "ground_truth")) return *reward.dict().find("ground_truth");
  }
  for (const char* name : {"ground_truth", "answer", "solution"})
    if (has_field(object, name)) return *object.find(name);
  return Value();
}

Dict all_but_prompt(const Dict& object) {
  Dict fields;
  for (const auto& [name, value] : object.items()) {
    const bool is_prompt = name.text() == "prompt" || name.text() == "tools";
    if (!is_prompt) fields.set(name, value);
  }
  return fields;
}

}  // namespace

RecordFormat prompt_format() {
  RecordFormat format;
  format.name = "prompt";
  format.keys = "prompt alone, or with what judges answers (answer, reward_model)";
  format.matches = [](const Dict& object) { return object.find("prompt") != nullptr; };
  format.read = [](const Dict& object) {
    Record record;
    record.kind = Record::Kind::kPrompt;
    if (required(object, "prompt").is_text()) {
      record.prompt = required_text(object, "prompt");
      if (record.prompt.empty()) core::fail(core::ExitCode::kBadInput, "\"prompt\" is empty");
    } else {
      record.messages = required_messages(object, "prompt");
      record.num_prompt_messages = record.messages.items().size();
      record.tools = optional_tools(object);
      if (record.messages.items().back().dict().find("role")->text() == "assistant") {
        core::fail(
            core::ExitCode::kBadInput,
            "\"prompt\" ends with the assistant, but answers are sampled behind it; give the answer as "
            "\"completion\", or leave it out");
      }
    }
    record.ground_truth = ground_truth_of(object);
    record.fields = all_but_prompt(object);
    return record;
  };
  return format;
}

}  // namespace phalanx::data
