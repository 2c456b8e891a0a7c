#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "data/example.h"
#include "data/tokenizer.h"
#include "reward/reward.h"

namespace phalanx::trainer {

/// What a reward model reads of an answer: the conversation with the answer as its last turn, closed as the
/// template closes a turn (an answer that was cut off, too); of a text, prompt and answer and EOS. The score
/// is read at the last token, so that it stands where training put it.
///
/// With `shares_ids` the ids of prompt and answer are taken as they are, else both go as text through the
/// reward model's tokenizer and chat template. Immutable.
class ScoredText {
 public:
  ScoredText(const data::Tokenizer& tokenizer, const std::string& chat_template, bool shares_ids);
  /// @throws core::Error (78) for a conversation without a chat template.
  std::vector<int32_t> ids(const reward::Sample& sample) const;

 private:
  std::vector<int32_t> joined_ids(const reward::Sample& sample) const;
  std::vector<int32_t> template_closing() const;

  const data::Tokenizer& tokenizer_;
  data::ExampleBuilder builder_;
  bool shares_ids_;
  std::vector<int32_t> closing_of_chat_, closing_of_text_;
};

}  // namespace phalanx::trainer
