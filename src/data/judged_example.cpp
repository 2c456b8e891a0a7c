#include "data/judged_example.h"

#include <algorithm>

#include "core/error.h"
#include "data/batch.h"

namespace phalanx::data {
namespace {

constexpr const char* kStepEnd = "\n";

ExampleOptions for_answers(ExampleOptions options) {
  options.loss_on = "completion";
  options.require_target = true;
  return options;
}

/// Tokens in front of the first target.
size_t prompt_tokens(const Example& example) {
  return static_cast<size_t>(std::find(example.mask.begin(), example.mask.end(), 1) - example.mask.begin());
}

}  // namespace

JudgedExampleBuilder::JudgedExampleBuilder(const Tokenizer& tokenizer, ExampleOptions options)
    : tokenizer_(tokenizer),
      special_text_(options.special_tokens_in_content == "literal" ? SpecialText::kLiteral
                                                                   : SpecialText::kParse),
      answers_(tokenizer, for_answers(std::move(options))) {}

PreferenceExample JudgedExampleBuilder::preference(const Record& record) const {
  PreferenceExample example{answers_.build(record.answers.at(0)), answers_.build(record.answers.at(1)), 0};
  const std::vector<int32_t>&chosen = example.chosen.ids, &rejected = example.rejected.ids;
  // A token may hold the end of the prompt and the beginning of one answer, so the two may part earlier.
  example.num_prompt_tokens = std::min(prompt_tokens(example.chosen), prompt_tokens(example.rejected));
  const auto shared = static_cast<std::ptrdiff_t>(example.num_prompt_tokens);
  if (!std::equal(chosen.begin(), chosen.begin() + shared, rejected.begin())) {
    core::fail(
        core::ExitCode::kBadInput,
        "the prompt has other tokens in front of the chosen answer than in front of the rejected one, so "
        "that their probabilities cannot be compared; does the chat template look at the answer?");
  }
  if (chosen == rejected)
    core::fail(core::ExitCode::kBadInput,
               "\"chosen\" and \"rejected\" are the same tokens, so that nothing is preferred");
  return example;
}

UnpairedExample JudgedExampleBuilder::unpaired(const Record& record) const {
  return {answers_.build(record.answers.at(0)), record.labels.at(0)};
}

StepwiseExample JudgedExampleBuilder::stepwise(const Record& record) const {
  StepwiseExample example;
  const std::vector<TokenId> around = tokenizer_.encode_with_post_processor("");
  const SpecialTokens& special = tokenizer_.special_tokens();
  if (special.bos && !around.empty() && around.front() == *special.bos) example.ids.push_back(*special.bos);
  const auto append = [&](const std::string& text) {
    const std::vector<TokenId> ids = tokenizer_.encode(text, special_text_);
    example.ids.insert(example.ids.end(), ids.begin(), ids.end());
    example.labels.resize(example.ids.size(), static_cast<int32_t>(kIgnoredLabel));
  };
  append(record.prompt);
  for (size_t i = 0; i < record.steps.size(); ++i) {
    append(record.steps[i]);
    append(kStepEnd);
    example.labels.back() = record.labels[i] ? 1 : 0;
  }
  return example;
}

}  // namespace phalanx::data
