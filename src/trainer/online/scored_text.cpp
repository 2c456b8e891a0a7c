#include "trainer/online/scored_text.h"

#include <algorithm>

namespace phalanx::trainer {
namespace {

using data::jinja::Dict;
using data::jinja::Value;

Value message(const std::string& role, const std::string& content) {
  Dict dict;
  dict.set("role", role);
  dict.set("content", content);
  return Value(std::move(dict));
}

data::Record conversation(std::vector<Value> messages, const Value& tools, const std::string& answer) {
  messages.push_back(message("assistant", answer));
  data::Record record;
  record.kind = data::Record::Kind::kChat;
  record.messages = Value(std::move(messages));
  record.tools = tools;
  return record;
}

data::Record text_pair(const std::string& prompt, const std::string& answer) {
  data::Record record;
  record.kind = data::Record::Kind::kPair;
  record.prompt = prompt;
  record.text = answer;
  return record;
}

}  // namespace

ScoredText::ScoredText(const data::Tokenizer& tokenizer, const std::string& chat_template, bool shares_ids)
    : tokenizer_(tokenizer),
      builder_(tokenizer, {.loss_on = "all",
                           .special_tokens_in_content = "literal",  // an answer cannot close its own turn
                           .chat_template = chat_template,
                           .require_target = false}),
      shares_ids_(shares_ids) {
  if (const auto& eos = tokenizer.special_tokens().eos) closing_of_text_ = {*eos};
  if (!chat_template.empty()) closing_of_chat_ = template_closing();
}

/// What the template puts behind an answer.
std::vector<int32_t> ScoredText::template_closing() const {
  const std::string answer = "Answer 4711";
  const std::string text = builder_.build(conversation({message("user", "Question")}, Value(), answer)).text;
  const size_t found = text.rfind(answer);
  if (found == std::string::npos) return {};
  return tokenizer_.encode(text.substr(found + answer.size()));
}

std::vector<int32_t> ScoredText::ids(const reward::Sample& sample) const {
  if (shares_ids_) return joined_ids(sample);
  const data::Record& prompt = *sample.record;
  if (!prompt.messages.is_list()) return builder_.build(text_pair(prompt.prompt, sample.completion)).ids;
  return builder_.build(conversation(prompt.messages.items(), prompt.tools, sample.completion)).ids;
}

std::vector<int32_t> ScoredText::joined_ids(const reward::Sample& sample) const {
  std::vector<int32_t> ids(sample.prompt_ids.begin(), sample.prompt_ids.end());
  ids.insert(ids.end(), sample.completion_ids.begin(), sample.completion_ids.end());
  const auto& closing = sample.record->messages.is_list() ? closing_of_chat_ : closing_of_text_;
  if (closing.empty()) return ids;
  const bool is_closed = std::ranges::count(tokenizer_.stop_ids(), ids.back()) > 0;
  if (is_closed) ids.pop_back();
  ids.insert(ids.end(), closing.begin(), closing.end());
  return ids;
}

}  // namespace phalanx::trainer
