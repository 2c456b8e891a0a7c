#pragma once
#include <string>

#include "label/pair_scores.h"

namespace phalanx::launch {

/// A reward model as the judge of pairs: a Hugging Face folder or run of `method: reward`, or its adapter.
/// Each answer is scored behind its prompt, at its last token, as in training. The model is read when the
/// judge is first asked.
/// @throws core::Error (65) for a model that does not score.
label::Judge reward_judge(const std::string& model);

}  // namespace phalanx::launch
