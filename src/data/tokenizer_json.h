#pragma once
#include <string>
#include <string_view>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// What tokenizer.json says, for byte-level BPE. `file` is named in messages. Special tokens, stop ids and
/// the template are not in this file and stay empty.
/// @throws TokenizerError naming file, JSON path, what was found and what is supported.
TokenizerSpec read_tokenizer_json(std::string_view json, const std::string& file);

/// tokenizer.json of `spec`, as the reference library writes it.
std::string write_tokenizer_json(const TokenizerSpec& spec);

}  // namespace phalanx::data
