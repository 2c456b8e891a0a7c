#include "model/save.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <cstring>
#include <map>
#include <set>
#include <span>

#include "core/error.h"
#include "core/files.h"
#include "formats/stored_tensor.h"
#include "formats/tensor_file.h"
#include "model/config_json.h"
#include "model/gguf_config.h"
#include "model/gguf_weights.h"
#include "model/parameter.h"
#include "model/rotary.h"

namespace phalanx::model {
namespace {

using core::DType;
using formats::TensorSpec;

// The model's own weights: what an adapter added beside them is not part of the model's files.
NamedTensors base_parameters(const CausalLm& model) {
  return all_parameters(*find_family(model.config().model_type).build(model.config()));
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}
std::span<const float> floats_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

at::Tensor ask(const WeightSource& weights, const std::string& name, at::IntArrayRef shape) {
  const at::Tensor tensor = weights(name).detach().to(at::kCPU).contiguous();
  TORCH_INTERNAL_ASSERT(tensor.sizes() == shape, name, " came with another shape");
  return tensor;
}

/// One tensor of a Hugging Face folder.
struct Stored {
  std::string name;
  NamedTensors parts;  // parameters, below each other
  bool is_transposed = false;

  std::vector<int64_t> shape() const {
    std::vector<int64_t> sizes = parts.front().second.sizes().vec();
    sizes[0] = 0;
    for (const auto& [part, parameter] : parts) sizes[0] += parameter.size(0);
    if (is_transposed) std::swap(sizes[0], sizes[1]);
    return sizes;
  }
};

// In the order of the parameters; those that share a tensor stand where the first of them does.
std::vector<Stored> stored_tensors(const CausalLm& model) {
  const NamedTensors parameters = base_parameters(model);
  const std::map<std::string, at::Tensor> by_name(parameters.begin(), parameters.end());
  const Family& family = find_family(model.config().model_type);
  std::map<std::string, formats::StoredTensor> first_of;
  std::set<std::string> others;
  if (family.stored_tensors) {
    for (const formats::StoredTensor& stored : family.stored_tensors(model.config())) {
      first_of.emplace(stored.parts.front().name, stored);
      for (size_t i = 1; i < stored.parts.size(); ++i) others.insert(stored.parts[i].name);
    }
  }
  std::vector<Stored> tensors;
  for (const auto& [name, parameter] : parameters) {
    if (others.contains(name)) continue;
    const auto found = first_of.find(name);
    if (found == first_of.end()) {
      tensors.push_back({name, {{name, parameter}}});
      continue;
    }
    Stored stored{found->second.name, {}, found->second.is_transposed};
    for (const auto& part : found->second.parts) stored.parts.emplace_back(part.name, by_name.at(part.name));
    tensors.push_back(std::move(stored));
  }
  return tensors;
}

at::Tensor joined(const Stored& stored, const WeightSource& weights) {
  if (stored.parts.size() == 1) {
    const auto& [name, parameter] = stored.parts[0];
    const at::Tensor part = ask(weights, name, parameter.sizes());
    return stored.is_transposed ? part.t().contiguous() : part;
  }
  at::Tensor whole;  // filled part by part, so that it and one part are all that is held
  int64_t first = 0;
  for (const auto& [name, parameter] : stored.parts) {
    const at::Tensor part = ask(weights, name, parameter.sizes());
    if (!whole.defined()) whole = at::empty(stored.shape(), part.options());
    (stored.is_transposed ? whole.t() : whole).narrow(0, first, part.size(0)).copy_(part);
    first += part.size(0);
  }
  return whole;
}

void write_weight(formats::TensorWriter& writer, const TensorSpec& spec, const std::string& name,
                  const at::Tensor& tensor) {
  const bool is_stored_type = (spec.dtype == DType::kF64 && tensor.scalar_type() == at::kDouble) ||
                              (spec.dtype == DType::kF32 && tensor.scalar_type() == at::kFloat) ||
                              (spec.dtype == DType::kF16 && tensor.scalar_type() == at::kHalf) ||
                              (spec.dtype == DType::kBF16 && tensor.scalar_type() == at::kBFloat16);
  if (is_stored_type) return writer.write(name, bytes_of(tensor));
  if (spec.dtype == DType::kF64) return writer.write(name, bytes_of(tensor.to(at::kDouble)));
  writer.write_floats(name, floats_of(tensor.to(at::kFloat)));
}

void check_dtype(DType dtype, std::initializer_list<DType> allowed, const char* where) {
  std::string names;
  for (const DType each : allowed) {
    if (each == dtype) return;
    names += (names.empty() ? "" : ", ") + std::string(core::name(each));
  }
  core::fail(core::ExitCode::kBadConfig, "{} cannot be written as {}; allowed are {}", where,
             core::name(dtype), names);
}

void write_generation_config(const std::filesystem::path& folder, const TransformerConfig& config) {
  formats::GenerationConfig generation;
  generation.bos_token_id = config.bos_token_id;
  generation.pad_token_id = config.pad_token_id;
  generation.eos_token_ids = config.eos_token_ids;
  formats::write_generation_config(folder / "generation_config.json", generation);
}

// general.quantization_version: the block layouts of GGUF as they have been since 2023.
constexpr uint32_t kQuantisationVersion = 2;

void add_mix_metadata(formats::GgufPairs& metadata, const formats::GgufMix& mix) {
  metadata.u32("general.file_type", mix.file_type);
  if (core::is_quantised(mix.base)) metadata.u32("general.quantization_version", kQuantisationVersion);
}

}  // namespace

WeightSource weights_of(const CausalLm& model) {
  const NamedTensors all = model.named_parameters();
  return [parameters = std::map<std::string, at::Tensor>(all.begin(), all.end())](const std::string& name) {
    return parameters.at(name);
  };
}

void save_hf(const std::filesystem::path& folder, const CausalLm& model, const WeightSource& weights,
             DType dtype, uint64_t max_shard_bytes, const formats::WriterRank& rank) {
  const at::NoGradGuard no_grad;
  check_dtype(dtype, {DType::kF64, DType::kF32, DType::kF16, DType::kBF16}, "a Hugging Face folder");
  core::make_directories(folder.string());
  const std::vector<Stored> tensors = stored_tensors(model);
  std::vector<TensorSpec> specs;
  for (const Stored& stored : tensors) specs.push_back({stored.name, dtype, stored.shape()});
  formats::HfWeightsWriter writer(folder, specs, max_shard_bytes, rank);
  for (size_t i = 0; i < specs.size(); ++i) {
    if (!writer.is_mine(specs[i].name)) continue;
    write_weight(writer, specs[i], specs[i].name, joined(tensors[i], weights));
  }
  writer.finish();
  if (!rank.is_first()) return;
  write_generation_config(folder, model.config());
  formats::write_hf_json(folder / "config.json",
                         to_json(model.config(), dtype));  // last: a folder without it is no model
}

void save_gguf(const std::filesystem::path& file, const CausalLm& model, const WeightSource& weights,
               const formats::GgufMix& mix, formats::GgufPairs metadata, const Importance& importance,
               const formats::WriterRank& rank) {
  const TransformerConfig& config = model.config();
  check_gguf_export(config);
  add_mix_metadata(metadata, mix);
  add_gguf_keys(metadata, config);
  const std::vector<formats::GgufTensor> layout = gguf_layout(config);
  const std::vector<float> divisors = rope_divisors(config);
  std::vector<TensorSpec> specs = gguf_specs(config, layout, mix, !importance.empty());
  if (!divisors.empty()) specs.push_back({kRopeFreqs, DType::kF32, {static_cast<int64_t>(divisors.size())}});
  formats::GgufWriter writer(file, specs, metadata, rank);
  for (size_t i = 0; i < layout.size(); ++i) {
    if (writer.is_mine(specs[i].name))
      writer.write(specs[i].name, gguf_bytes(specs[i], layout[i], weights, importance));
  }
  if (!divisors.empty() && writer.is_mine(kRopeFreqs)) writer.write_floats(kRopeFreqs, divisors);
  writer.finish();
}

}  // namespace phalanx::model
