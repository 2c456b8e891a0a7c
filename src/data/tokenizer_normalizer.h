#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "data/tokenizer_edits.h"

namespace phalanx::data {

/// Unicode normalization form C of valid UTF-8, or nothing when `text` is in that form already.
std::optional<EditedText> normalize_nfc(std::string_view text);

}  // namespace phalanx::data
