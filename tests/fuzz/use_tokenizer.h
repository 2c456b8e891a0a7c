#pragma once
#include <string_view>

#include "data/tokenizer_spec.h"

namespace phalanx::fuzz {

/// Builds the tokenizer that `spec` describes and holds it against what every tokenizer promises, on a few
/// texts and on `extra` where that is UTF-8. What the tokenizer refuses may be refused. @return the ids of
/// all texts, for comparison.
std::vector<data::TokenId> use_tokenizer(const data::TokenizerSpec& spec, std::string_view extra);

}  // namespace phalanx::fuzz
