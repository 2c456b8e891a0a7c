#pragma once
#include "data/record.h"

namespace phalanx::data {

/// The question of a record of any kind that has one, as a record of kind kPrompt: a prompt as it is, of a
/// preference, pair or conversation what stands before the (last) answer.
/// @throws core::Error (65) for a record without a question, such as a plain text.
Record prompt_of(const Record& record);

}  // namespace phalanx::data
