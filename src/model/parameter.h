#pragma once
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <string>
#include <utility>
#include <vector>

namespace phalanx::model {

/// A tensor that has a shape but no memory. Modules are built from these, so that a model can be adapted and cut over
/// ranks before any weight is allocated, and is then filled once, in the dtype it is used in.
at::Tensor unallocated(at::IntArrayRef shape);
bool is_allocated(const at::Tensor& tensor);

/// Gives every unallocated parameter of `module` its memory (not initialised). Allocated ones are left alone.
void allocate(torch::nn::Module& module, at::ScalarType dtype, at::Device device = at::kCPU);

/// (Hugging Face tensor name, parameter) in execution order; the trainable ones only, or all.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
NamedTensors trainable_parameters(const torch::nn::Module& module);
NamedTensors all_parameters(const torch::nn::Module& module);

}  // namespace phalanx::model
