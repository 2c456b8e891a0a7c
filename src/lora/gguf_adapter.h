#pragma once
#include <filesystem>
#include <string>

#include "formats/gguf_writer.h"
#include "lora/adapter.h"

namespace phalanx::lora {

/// Writes an adapter as a GGUF file that llama.cpp loads beside its base (--lora): general.type "adapter",
/// adapter.type "lora", adapter.lora.alpha, and for each tensor of the base NAME.lora_a [r, in] and
/// NAME.lora_b [out, r] in F32, the rows of lora_b in GGUF's order. The engine's scale is alpha / r, with r
/// read from the shapes. Where the base's file joins matrices (attn_qkv), so are their adapters.
/// @param metadata  general.name and what else the caller has to say.
/// @throws core::Error (kBadConfig) for a base that cannot be written as GGUF, for adapted experts, and for
/// scales that are not one alpha over each r: merge such an adapter instead.
void save_gguf_adapter(const std::filesystem::path& file, const model::CausalLm& model,
                       const Adapter& adapter, formats::GgufPairs metadata);

/// What of a file written so differs from the adapter, as part of a sentence; empty for equal bits.
std::string first_difference_in_gguf_adapter(const std::filesystem::path& file, const model::CausalLm& model,
                                             const Adapter& adapter);

}  // namespace phalanx::lora
