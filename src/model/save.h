#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <string>

#include "core/dtype.h"
#include "formats/gguf_writer.h"
#include "formats/hf_weights.h"
#include "model/causal_lm.h"

namespace phalanx::model {

/// The weight of this Hugging Face name, in host memory, any float dtype. Asked for one at a time, so that a
/// writer never holds a second model: merging an adapter happens here.
using WeightSource = std::function<at::Tensor(const std::string& name)>;
WeightSource weights_of(const CausalLm& model);

/// Writes config.json, generation_config.json and model.safetensors (or shards with their index) into
/// `folder`, which is created. Tokenizer files are the caller's business.
/// @param dtype  F64, F32, F16 or BF16.
void save_hf(const std::filesystem::path& folder, const CausalLm& model, const WeightSource& weights,
             core::DType dtype, uint64_t max_shard_bytes = formats::kDefaultShardBytes);

/// Writes a GGUF file of architecture llama. `metadata` comes with the general and tokenizer keys; the
/// architecture's are added. Matrices get `dtype` (F32, F16, BF16 or Q8_0), norms and biases stay F32, a tied
/// output is left out.
void save_gguf(const std::filesystem::path& file, const CausalLm& model, const WeightSource& weights,
               core::DType dtype, formats::GgufPairs metadata);

/// What `general.file_type` calls a file whose matrices have this type.
uint32_t gguf_file_type(core::DType dtype);

}  // namespace phalanx::model
