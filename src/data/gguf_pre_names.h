#pragma once
#include <span>
#include <string>
#include <string_view>

namespace phalanx::data {

/// What a name in tokenizer.ggml.pre means to llama.cpp: how byte-level BPE splits text, and what else
/// depends on the name there. GGUF has no place for a pattern itself.
struct GgufPreName {
  std::string_view name;
  std::string_view pattern;  ///< of the splitting, as tokenizer.json has it
  bool digits_alone;         ///< every digit is split off first
  bool ignore_merges;        ///< a pre-token that is a token is taken whole
  bool adds_bos;             ///< unless tokenizer.ggml.add_bos_token says otherwise
};

/// All that are read. Of several that mean the same, the first is written.
std::span<const GgufPreName> gguf_pre_names();

/// The name of the way in which a byte-level tokenizer.json splits text; empty for one that has no name.
/// @param pre_tokenizer  its part "pre_tokenizer", as JSON text.
std::string gguf_pre_name(const std::string& pre_tokenizer, bool ignore_merges);

/// The other way round: that part of a tokenizer.json.
std::string pre_tokenizer_of(const GgufPreName& pre);

}  // namespace phalanx::data
