#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// The kinds of pieces, numbered as in SentencePiece's ModelProto and in GGUF's token_type.
enum class PieceType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

/// SentencePiece's BPE as merges: two neighbours merge when their joined text is a piece, that of the highest
/// score first, the leftmost of equal ones. Adds the model to `spec`, whose tokens are the pieces.
/// @throws TokenizerError kVocab for what cannot be expressed so.
void set_sentencepiece_bpe(TokenizerSpec& spec, const std::vector<float>& scores,
                           const std::vector<PieceType>& types);

/// Decoder of SentencePiece text, as part of tokenizer.json. @param strips  the first space is not the
/// text's.
std::string sentencepiece_decoder(bool strips);
/// Spaces to U+2581 and one before the text, as normalizers of tokenizer.json.
std::string sentencepiece_escape(bool adds_prefix);

}  // namespace phalanx::data
