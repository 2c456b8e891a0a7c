#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// A pre-tokenizer that splits at every match of `pattern` and writes bytes in the byte-level alphabet, as
/// part of tokenizer.json.
std::string byte_level_split(std::string_view pattern);

/// A byte-level BPE vocabulary given as byte strings in the order of their ranks, as tiktoken has it: two
/// neighbours merge when their joined bytes are a token, that of the lowest rank first; a pre-token that is a
/// token is taken whole. Appends the tokens to spec.tokens and sets model, pre-tokenizer and decoder.
/// @throws TokenizerError kVocab when a token occurs twice or a byte has none.
void set_byte_ranks(TokenizerSpec& spec, const std::vector<std::string>& tokens, std::string_view pattern);

}  // namespace phalanx::data
