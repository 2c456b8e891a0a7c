#include "model/gguf_weights.h"

#include <ATen/Functions.h>

#include <set>

#include "core/error.h"
#include "model/gguf_config.h"

namespace phalanx::model {
namespace {

using formats::GgufTensor;

/// A part as the file holds it, but for its type: fp32 on the host.
at::Tensor in_gguf_form(const GgufTensor& tensor, const at::Tensor& part) {
  at::Tensor values = part.detach().to(at::kCPU, at::kFloat).contiguous();
  if (tensor.is_one_more) return values + 1;
  if (tensor.num_heads == 0) return values;
  at::Tensor ordered = at::empty_like(values);
  const size_t size = values.nbytes();
  formats::rows_to_gguf({static_cast<const std::byte*>(values.const_data_ptr()), size}, tensor.num_heads,
                        values.size(0) / tensor.num_heads,
                        {static_cast<std::byte*>(ordered.mutable_data_ptr()), size});
  return ordered;
}

}  // namespace

std::vector<formats::TensorSpec> gguf_specs(const TransformerConfig& config,
                                            const std::vector<GgufTensor>& layout,
                                            const formats::GgufMix& mix, bool has_importance) {
  const formats::GgufModel shape = {.architecture = find_family(config.model_type).gguf.value().name,
                                    .num_layers = config.num_hidden_layers,
                                    .num_heads = config.num_attention_heads,
                                    .num_key_value_heads = config.num_key_value_heads,
                                    .num_experts = config.num_local_experts,
                                    .has_output = !config.tie_word_embeddings,
                                    .has_importance = has_importance};
  std::vector<formats::TensorSpec> specs;
  for (const GgufTensor& tensor : layout) {
    const std::vector<int64_t> sizes = tensor.shape();
    specs.push_back({tensor.name, formats::dtype_in_mix(mix, shape, tensor.name, sizes), sizes});
  }
  return specs;
}

std::map<std::string, core::DType> gguf_types(const CausalLm& model, const formats::GgufMix& mix,
                                              bool has_importance) {
  check_gguf_export(model.config());
  const std::vector<GgufTensor> layout = gguf_layout(model.config());
  const std::vector<formats::TensorSpec> specs = gguf_specs(model.config(), layout, mix, has_importance);
  std::map<std::string, core::DType> types;
  for (size_t i = 0; i < specs.size(); ++i)
    for (const GgufTensor::Part& part : layout[i].parts) types.emplace(part.name, specs[i].dtype);
  return types;
}

std::vector<std::byte> gguf_bytes(const formats::TensorSpec& spec, const GgufTensor& tensor,
                                  const WeightSource& weights, const Importance& importance) {
  std::vector<std::byte> stored(formats::count_bytes(spec.dtype, spec.shape).value());
  size_t offset = 0;
  for (const GgufTensor::Part& part : tensor.parts) {
    const at::Tensor weight = weights(part.name);
    TORCH_INTERNAL_ASSERT(weight.sizes() == at::IntArrayRef(part.shape), part.name,
                          " came with another shape");
    const at::Tensor values = in_gguf_form(tensor, weight);
    const auto found = importance.find(part.name);
    formats::from_float(spec.dtype, values.const_data_ptr<float>(), values.numel(), stored.data() + offset,
                        found == importance.end() ? std::span<const float>() : found->second);
    offset += formats::count_bytes(spec.dtype, part.shape).value();
  }
  return stored;
}

WeightRows gguf_weights(const CausalLm& model, WeightRows weights) {
  std::set<std::string> one_more;
  if (find_family(model.config().model_type).gguf)
    for (const GgufTensor& tensor : gguf_layout(model.config()))
      if (tensor.is_one_more)
        for (const GgufTensor::Part& part : tensor.parts) one_more.insert(part.name);
  if (one_more.empty()) return weights;
  return [weights = std::move(weights), one_more = std::move(one_more)](const std::string& name,
                                                                        int64_t begin, int64_t end) {
    const at::Tensor rows = weights(name, begin, end);
    return one_more.contains(name) ? rows + 1 - 1 : rows;
  };
}

}  // namespace phalanx::model
