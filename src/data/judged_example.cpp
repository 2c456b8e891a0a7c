#include "data/judged_example.h"

#include <algorithm>

#include "core/error.h"
#include "data/batch.h"

namespace phalanx::data {
namespace {

// The answers' masks are made here, so that no template needs marks for them.
ExampleOptions for_answers(ExampleOptions options) {
  options.loss_on = "all";
  options.require_target = true;
  return options;
}

size_t common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  const auto count = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + count, b.begin()).first - a.begin());
}

/// Everything behind the first `num_prompt_tokens` is the answer.
void mark_answer(Example& example, size_t num_prompt_tokens, size_t prompt_size) {
  if (num_prompt_tokens == 0 && prompt_size > 0) {
    core::fail(core::ExitCode::kBadInput,
               "the prompt has other tokens in front of the chosen answer than in front of the rejected one "
               "or on its own; does the chat template look at the answer?");
  }
  if (num_prompt_tokens >= example.ids.size())
    core::fail(core::ExitCode::kBadInput, "an answer has no token behind its prompt");
  std::fill(example.mask.begin(), example.mask.end(), 1);
  std::fill_n(example.mask.begin(), num_prompt_tokens, 0);
  example.num_straddling = num_prompt_tokens < prompt_size ? 1 : 0;
}

}  // namespace

JudgedExampleBuilder::JudgedExampleBuilder(const Tokenizer& tokenizer, ExampleOptions options)
    : tokenizer_(tokenizer),
      special_text_(options.special_tokens_in_content == "literal" ? SpecialText::kLiteral
                                                                   : SpecialText::kParse),
      step_separator_(options.step_separator),
      answers_(tokenizer, for_answers(std::move(options))) {}

std::vector<int32_t> JudgedExampleBuilder::bos() const {
  const std::vector<TokenId> around = tokenizer_.encode_with_post_processor("");
  const SpecialTokens& special = tokenizer_.special_tokens();
  if (special.bos && !around.empty() && around.front() == *special.bos) return {*special.bos};
  return {};
}

/// The prompt of a pair or conversation on its own, as it would be put to the model.
std::vector<int32_t> JudgedExampleBuilder::prompt_ids(const Record& answer) const {
  if (answer.kind == Record::Kind::kPair) {
    std::vector<int32_t> ids = bos();
    const std::vector<TokenId> prompt = tokenizer_.encode(answer.prompt, special_text_);
    ids.insert(ids.end(), prompt.begin(), prompt.end());
    return ids;
  }
  const auto& messages = answer.messages.items();
  const auto count = static_cast<std::ptrdiff_t>(answer.num_prompt_messages);
  return answers_
      .build_prompt(jinja::Value(std::vector<jinja::Value>(messages.begin(), messages.begin() + count)),
                    answer.tools)
      .ids;
}

PreferenceExample JudgedExampleBuilder::preference(const Record& record) const {
  PreferenceExample example{answers_.build(record.answers.at(0)), answers_.build(record.answers.at(1)), 0};
  const std::vector<int32_t> prompt = prompt_ids(record.answers.at(0));
  if (example.chosen.ids == example.rejected.ids)
    core::fail(core::ExitCode::kBadInput,
               "\"chosen\" and \"rejected\" are the same tokens, so that nothing is preferred");
  example.num_prompt_tokens =
      std::min(common_prefix(prompt, example.chosen.ids), common_prefix(prompt, example.rejected.ids));
  for (Example* answer : {&example.chosen, &example.rejected})
    mark_answer(*answer, example.num_prompt_tokens, prompt.size());
  return example;
}

UnpairedExample JudgedExampleBuilder::unpaired(const Record& record) const {
  UnpairedExample example{answers_.build(record.answers.at(0)), record.labels.at(0)};
  const std::vector<int32_t> prompt = prompt_ids(record.answers.at(0));
  mark_answer(example.answer, common_prefix(prompt, example.answer.ids), prompt.size());
  return example;
}

StepwiseExample JudgedExampleBuilder::stepwise(const Record& record) const {
  StepwiseExample example;
  example.ids = bos();
  const auto append = [&](const std::string& text) {
    const std::vector<TokenId> ids = tokenizer_.encode(text, special_text_);
    example.ids.insert(example.ids.end(), ids.begin(), ids.end());
    example.labels.resize(example.ids.size(), static_cast<int32_t>(kIgnoredLabel));
  };
  append(record.prompt);
  for (size_t i = 0; i < record.steps.size(); ++i) {
    append(record.steps[i]);
    append(step_separator_);
    example.labels.back() = record.labels[i] ? 1 : 0;
  }
  return example;
}

}  // namespace phalanx::data
