#pragma once
#include <map>
#include <string>
#include <vector>

#include "formats/gguf_mix.h"
#include "formats/gguf_tensor.h"
#include "formats/tensor_spec.h"
#include "model/causal_lm.h"
#include "model/save.h"
#include "model/weight_rows.h"

namespace phalanx::model {

/// Names, types and shapes of a GGUF file's tensors. @param layout  gguf_layout().
std::vector<formats::TensorSpec> gguf_specs(const TransformerConfig& config,
                                            const std::vector<formats::GgufTensor>& layout,
                                            const formats::GgufMix& mix, bool has_importance);

/// The type that save_gguf gives each parameter.
/// @throws core::Error kBadConfig for a model that GGUF files are not written of.
std::map<std::string, core::DType> gguf_types(const CausalLm& model, const formats::GgufMix& mix,
                                              bool has_importance);

/// The bytes of a tensor in the file. @param weights  asked for each part, one at a time.
std::vector<std::byte> gguf_bytes(const formats::TensorSpec& spec, const formats::GgufTensor& tensor,
                                  const WeightSource& weights, const Importance& importance);

/// `weights` as a GGUF file of F32 gives them back: norms of which it holds 1 + w lose what fp32 has no room
/// for.
WeightRows gguf_weights(const CausalLm& model, WeightRows weights);

}  // namespace phalanx::model
