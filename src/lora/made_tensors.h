#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "formats/tensor_file.h"

namespace phalanx::lora {

/// fp32 tensors in memory, read like those of a file.
class MadeTensors : public formats::TensorFile {
 public:
  void add(const std::string& name, const at::Tensor& tensor) {
    const at::Tensor values = tensor.contiguous();
    tensors_.push_back({name, core::DType::kF32, values.sizes().vec(), 0, values.nbytes()});
    values_.emplace(name, values);
  }
  const std::vector<formats::TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const formats::TensorInfo& tensor) const override {
    const at::Tensor& values = values_.at(tensor.name);
    return {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()};
  }

 private:
  std::vector<formats::TensorInfo> tensors_;
  std::map<std::string, at::Tensor> values_;
};

}  // namespace phalanx::lora
