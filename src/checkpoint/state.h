#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/box.h"
#include "core/dtype.h"

namespace phalanx::checkpoint {

/// One rank's part of a global tensor. Parameters, moments, anything: a checkpoint does not know what it
/// holds.
struct TensorSlice {
  std::string name;  ///< global name, e.g. "model.layers.0.mlp.up_proj.weight"; no '/', no control characters
  at::Tensor local;  ///< saving reads it, loading writes into it
  std::vector<int64_t> global_shape;  ///< of the whole tensor; empty for a scalar
  std::vector<int64_t> offset;        ///< where `local` begins in it, one number per dimension

  Box box() const { return {offset, local.sizes().vec()}; }
};

/// A slice that is the whole tensor (replicated on every rank that lists it).
TensorSlice whole_tensor(std::string name, at::Tensor tensor);

/// By this name and its own a training run saves each parameter that it trains, in the master dtype; what has
/// another beginning is of use to that run alone.
inline constexpr std::string_view kWeightPrefix = "param.";

/// What a checkpoint holds. Each rank lists the slices that it has. Several ranks may list the same slice (it
/// is written once), but two slices of one tensor are either the same box or disjoint, and all of them
/// together are the tensor.
struct State {
  std::vector<TensorSlice> tensors;
  nlohmann::ordered_json scalars =
      nlohmann::ordered_json::object();  ///< step, RNG, data cursor, ...: equal on all ranks
};

core::DType stored_dtype(
    at::ScalarType type);  ///< @throws core::Error (70) for a type that has no place in a file
at::ScalarType scalar_type(core::DType dtype);

}  // namespace phalanx::checkpoint
