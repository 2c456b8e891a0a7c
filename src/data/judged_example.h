#pragma once
#include <cstdint>
#include <vector>

#include "data/example.h"

namespace phalanx::data {

/// Two answers to one prompt (Record::Kind::kPreference).
struct PreferenceExample {
  Example chosen, rejected;      ///< masks cover the answers
  size_t num_prompt_tokens = 0;  ///< so many first ids are the same in both, and none of them is a target
};

/// One answer and whether it is wanted (Record::Kind::kUnpaired).
struct UnpairedExample {
  Example answer;  ///< the mask covers the answer
  bool is_desirable = false;
};

/// An answer in steps, each right or wrong (Record::Kind::kStepwise).
struct StepwiseExample {
  std::vector<int32_t>
      ids;  // [T] prompt (BOS in front where the tokenizer adds it), then steps, each with its separator
  std::vector<int32_t> labels;  // [T] 1 or 0 at the last token of each step, kIgnoredLabel elsewhere
};

/// Records of judged answers as tokens. An answer is what the whole has beyond the prompt on its own, which
/// for a conversation is rendered with its generation prompt: from the first token in which they differ to
/// the last one, with whatever the template puts behind an answer (TRL's DPOTrainer). Immutable; safe to
/// share between threads. The tokenizer must outlive it. Steps and prompt are tokenised apart, as TRL's
/// PRMTrainer does it, so that each step ends with a token of its own.
class JudgedExampleBuilder {
 public:
  /// `options.loss_on` and `require_target` are not asked: targets are the answers.
  JudgedExampleBuilder(const Tokenizer& tokenizer, ExampleOptions options);

  /// All throw core::Error (65): what is wrong with this record, without its place. The record must be of the
  /// kind that the name says.
  PreferenceExample preference(const Record& record) const;
  UnpairedExample unpaired(const Record& record) const;
  StepwiseExample stepwise(const Record& record) const;

 private:
  std::vector<int32_t> bos() const;
  std::vector<int32_t> prompt_ids(const Record& answer) const;

  const Tokenizer& tokenizer_;
  SpecialText special_text_;
  std::string step_separator_;
  ExampleBuilder answers_;
};

}  // namespace phalanx::data
