#include "core/error.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

using jinja::Dict;
using jinja::Value;

std::string joined(const std::string& instruction, const std::string& input) {
  return input.empty() ? instruction : instruction + "\n" + input;
}

std::vector<Value> alpaca_prompt(const Dict& object) {
  std::vector<Value> messages;
  const std::string system = optional_text(object, "system");
  if (!system.empty()) messages.push_back(make_message("system", system));
  if (has_field(object, "history")) {
    const Value& history = required(object, "history");
    if (!history.is_list()) core::fail(core::ExitCode::kBadInput, "\"history\" must be a list of pairs");
    for (size_t i = 0; i < history.items().size(); ++i) {
      const Value& turn = history.items()[i];
      const bool is_pair = turn.is_list() && turn.items().size() == 2 && turn.items()[0].is_text() &&
                           turn.items()[1].is_text();
      if (!is_pair) {
        core::fail(core::ExitCode::kBadInput, "\"history\"[{}] must be a pair of texts: question, answer", i);
      }
      messages.push_back(make_message("user", turn.items()[0].text()));
      messages.push_back(make_message("assistant", turn.items()[1].text()));
    }
  }
  const std::string question = joined(required_text(object, "instruction"), optional_text(object, "input"));
  if (question.empty()) core::fail(core::ExitCode::kBadInput, "\"instruction\" and \"input\" are empty");
  messages.push_back(make_message("user", question));
  return messages;
}

Record answered(std::vector<Value> messages, size_t num_prompt, const std::string& answer) {
  messages.push_back(make_message("assistant", answer));
  return chat_record(std::move(messages), num_prompt, Value());
}

}  // namespace

RecordFormat alpaca_format() {
  RecordFormat format;
  format.name = "alpaca";
  format.keys = "instruction, output";
  format.matches = [](const Dict& object) {
    return object.find("instruction") != nullptr &&
           (object.find("output") != nullptr ||
            (object.find("chosen") != nullptr && object.find("rejected") != nullptr));
  };
  format.read = [](const Dict& object) {
    const std::vector<Value> prompt = alpaca_prompt(object);
    if (has_field(object, "chosen") || has_field(object, "rejected")) {
      return preference_record(answered(prompt, prompt.size(), required_text(object, "chosen")),
                               answered(prompt, prompt.size(), required_text(object, "rejected")));
    }
    return answered(prompt, 0, required_text(object, "output"));  // answers of the history count too
  };
  return format;
}

}  // namespace phalanx::data
