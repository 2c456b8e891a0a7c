#pragma once
#include <ATen/core/Tensor.h>

#include "model/module.h"

namespace phalanx::model {

/// A tensor that has a shape but no memory. Modules are built from these, so that a model can be adapted and
/// cut over ranks before any weight is allocated, and is then filled once, in the dtype it is used in.
at::Tensor unallocated(at::IntArrayRef shape);
bool is_allocated(const at::Tensor& tensor);

/// `tensor` becomes its own part at `offset` of `sizes`: its values are kept where it has any.
void set_to_part(at::Tensor tensor, at::IntArrayRef offset, at::IntArrayRef sizes);

/// Gives every unallocated parameter of `module` its memory (not initialised). Allocated ones are left alone.
void allocate(Module& module, at::ScalarType dtype, at::Device device = at::kCPU);

/// In execution order; the trainable ones only, or all.
NamedTensors trainable_parameters(const Module& module);
NamedTensors all_parameters(const Module& module);

}  // namespace phalanx::model
