#pragma once
#include "data/tokenizer.h"
#include "formats/gguf_writer.h"

namespace phalanx::generate {

/// The `tokenizer.ggml.*` and chat template keys of a BPE tokenizer (byte-level, or SentencePiece-style), as
/// llama.cpp reads them. Ids that the vocabulary does not have are filled with [PAD{i}] up to `num_rows`, the
/// rows of the embedding.
/// @throws core::Error (65) for a tokenizer whose splitting pattern has no name in GGUF.
void add_tokenizer_keys(const data::Tokenizer& tokenizer, int64_t num_rows, formats::GgufPairs& pairs);

}  // namespace phalanx::generate
