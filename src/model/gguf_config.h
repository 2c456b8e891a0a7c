#pragma once
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "model/transformer_config.h"

namespace phalanx::model {

/// The tensor of a GGUF file that holds Llama 3's rotary scaling (formats/rope_divisors.h): a part of the
/// config.
inline constexpr const char* kRopeFreqs = "rope_freqs.weight";

/// The config of the model in a GGUF file: the family whose GgufArchitecture the file has, and its keys.
/// Nothing is allocated.
/// @throws core::Error (kBadInput) naming file and key: an architecture that no family has, a file that holds
/// no causal language model, values that are missing, impossible or not implemented.
TransformerConfig read_gguf_config(const formats::GgufFile& file);

/// @throws core::Error (kBadConfig) where llama.cpp would run the exported file as another model; says why.
void check_gguf_export(const TransformerConfig& config);

/// general.architecture and the architecture's keys. The config was checked.
void add_gguf_keys(formats::GgufPairs& pairs, const TransformerConfig& config);

}  // namespace phalanx::model
