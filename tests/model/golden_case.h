#pragma once
#include <ATen/ATen.h>

#include <cstring>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "model/causal_lm.h"
#include "model/load.h"

namespace phalanx::model {

inline std::string golden_path(const std::string& name) {
  std::string path = PHALANX_SOURCE_DIR "/tests/model/golden/";
  return path += name;
}

/// One tensor of a golden file.
inline at::Tensor read_tensor(const formats::TensorFile& file, const std::string& name) {
  const formats::TensorInfo* info = file.find(name);
  TORCH_CHECK(info, name, " is not in the golden file");
  const auto dtype = info->dtype == core::DType::kF64   ? at::kDouble
                     : info->dtype == core::DType::kI32 ? at::kInt
                                                        : at::kFloat;
  at::Tensor tensor = at::empty(info->shape, dtype);
  std::memcpy(tensor.mutable_data_ptr(), file.bytes(*info).data(), info->size_bytes);
  return tensor;
}

/// Samples of the given lengths, joined to one row.
inline ModelInput make_input(const at::Tensor& ids, const std::vector<int32_t>& lengths) {
  ModelInput input{.input_ids = ids.to(at::kLong), .position_ids = {}, .cu_seqlens = {0}};
  std::vector<at::Tensor> positions;
  for (const int32_t length : lengths) {
    positions.push_back(at::arange(length, at::kLong));
    input.cu_seqlens.push_back(input.cu_seqlens.back() + length);
  }
  input.position_ids = at::cat(positions);
  return input;
}

/// Labels shifted inside each sample; the last position of a sample has none.
inline at::Tensor shifted_labels(const ModelInput& input) {
  at::Tensor labels = at::cat({input.input_ids.slice(0, 1), at::full({1}, -100, at::kLong)});
  for (size_t s = 1; s < input.cu_seqlens.size(); ++s) labels[input.cu_seqlens[s] - 1] = -100;
  return labels;
}

inline at::Tensor logits_of(CausalLm& model, const ModelInput& input) {
  return at::linear(model.hidden(input), model.output_weight());
}

inline double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

inline const std::vector<int32_t> kGoldenLengths = {7, 5};

}  // namespace phalanx::model
