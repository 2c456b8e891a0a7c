#pragma once
#include <string>
#include <string_view>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

// Each is_... looks at the first bytes only; each read_... @throws TokenizerError naming file, place and way
// out. Special tokens that a file names are set; stop ids and the template are not in these files.

/// SentencePiece's ModelProto: BPE and unigram, with the normalizer as sentencepiece runs it. Control pieces
/// in text are special tokens; SpecialText::kLiteral is what sentencepiece itself does.
bool is_sentencepiece_model(std::string_view bytes);
TokenizerSpec read_sentencepiece_model(std::string_view bytes, const std::string& file);

/// tiktoken's "base64 rank" lines. The file has neither the splitting pattern nor the special tokens: they
/// are those of "pat_str" and "added_tokens_decoder" in `config` (the bytes of a tokenizer_config.json, or
/// empty), else those of the known vocabulary with as many ranks (gpt2, p50k_base, cl100k_base, o200k_base,
/// Llama 3, Llama 4).
bool is_tiktoken(std::string_view bytes);
TokenizerSpec read_tiktoken(std::string_view bytes, const std::string& file, const std::string& config);

/// Mistral's tekken.json.
bool is_tekken(std::string_view bytes);
TokenizerSpec read_tekken(std::string_view bytes, const std::string& file);

}  // namespace phalanx::data
