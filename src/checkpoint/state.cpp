#include "checkpoint/state.h"

#include <utility>

#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

constexpr std::pair<at::ScalarType, core::DType> kTypes[] = {
    {at::kDouble, core::DType::kF64},    {at::kFloat, core::DType::kF32}, {at::kHalf, core::DType::kF16},
    {at::kBFloat16, core::DType::kBF16}, {at::kLong, core::DType::kI64},  {at::kInt, core::DType::kI32},
    {at::kShort, core::DType::kI16},     {at::kChar, core::DType::kI8},   {at::kByte, core::DType::kU8},
    {at::kBool, core::DType::kBool}};

}  // namespace

TensorSlice whole_tensor(std::string name, at::Tensor tensor) {
  const std::vector<int64_t> shape = tensor.sizes().vec();
  return {std::move(name), std::move(tensor), shape, std::vector<int64_t>(shape.size(), 0)};
}

core::DType stored_dtype(at::ScalarType type) {
  for (const auto& [ours, stored] : kTypes) {
    if (ours == type) return stored;
  }
  core::fail(core::ExitCode::kBug, "a checkpoint cannot hold tensors of type {}", c10::toString(type));
}

at::ScalarType scalar_type(core::DType dtype) {
  for (const auto& [ours, stored] : kTypes) {
    if (stored == dtype) return ours;
  }
  core::fail(core::ExitCode::kBadInput, "a checkpoint cannot hold tensors of type {}", core::name(dtype));
}

}  // namespace phalanx::checkpoint
