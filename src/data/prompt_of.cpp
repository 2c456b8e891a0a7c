#include "data/prompt_of.h"

#include "core/error.h"

namespace phalanx::data {
namespace {

bool is_answer(const jinja::Value& message) {
  const jinja::Value* role = message.dict().find("role");
  return role != nullptr && role->is_text() && role->text() == "assistant";
}

Record first_messages(const Record& record, size_t count) {
  const std::vector<jinja::Value>& messages = record.messages.items();
  Record prompt;
  prompt.kind = Record::Kind::kPrompt;
  prompt.messages = jinja::Value(
      std::vector<jinja::Value>(messages.begin(), messages.begin() + static_cast<ptrdiff_t>(count)));
  prompt.num_prompt_messages = count;
  prompt.tools = record.tools;
  return prompt;
}

Record of_chat(const Record& record) {
  size_t count = record.num_prompt_messages;
  if (count == 0) {
    count = record.messages.items().size();
    while (count > 0 && is_answer(record.messages.items()[count - 1])) --count;
  }
  if (count == 0) core::fail(core::ExitCode::kBadInput, "the conversation has nothing before its answer");
  return first_messages(record, count);
}

}  // namespace

Record prompt_of(const Record& record) {
  using Kind = Record::Kind;
  if (record.kind == Kind::kPrompt) return record;
  if (record.kind == Kind::kPreference || record.kind == Kind::kUnpaired) return prompt_of(record.answers[0]);
  if (record.kind == Kind::kChat) return of_chat(record);
  if (record.kind != Kind::kPair && record.kind != Kind::kStepwise)
    core::fail(core::ExitCode::kBadInput, "is a record of format {} ({}), which has no prompt to answer",
               record.format, describe(record.kind));
  Record prompt;
  prompt.kind = Kind::kPrompt;
  prompt.prompt = record.prompt;
  return prompt;
}

}  // namespace phalanx::data
