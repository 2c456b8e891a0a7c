#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "formats/gguf_mix.h"
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
/// @param model  its names and shapes; its weights are not read.
/// @param dtype  F64, F32, F16 or BF16.
/// @param rank   of several that call this together; each asks for and writes its share of the tensors. The
/// bytes do not depend on their number.
void save_hf(const std::filesystem::path& folder, const CausalLm& model, const WeightSource& weights,
             core::DType dtype, uint64_t max_shard_bytes = formats::kDefaultShardBytes,
             const formats::WriterRank& rank = {});

/// How much an error in each input column of a matrix counts (formats/block_encoders.h), by Hugging Face's
/// name of the matrix; matrices without an entry have no columns that count more.
using Importance = std::map<std::string, std::vector<float>, std::less<>>;

/// Writes a GGUF file as the family's GgufArchitecture says. `metadata` comes with the name and the tokenizer
/// keys; the architecture's and those of the mix are added. A tied output is left out.
/// @param rank  as for save_hf.
/// @throws core::Error kBadConfig for a model that engines would run as another one.
void save_gguf(const std::filesystem::path& file, const CausalLm& model, const WeightSource& weights,
               const formats::GgufMix& mix, formats::GgufPairs metadata, const Importance& importance = {},
               const formats::WriterRank& rank = {});

}  // namespace phalanx::model
