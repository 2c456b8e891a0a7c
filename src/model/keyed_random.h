#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace phalanx::model {

/// Fills a tensor with random numbers that are a function of (seed, name, index of the element) alone: the
/// same bits on every rank, with any number of threads and whatever was drawn before. Drawn in fp64, rounded
/// once to the tensor's dtype.
void fill_normal(at::Tensor tensor, double standard_deviation, uint64_t seed, std::string_view name);
void fill_uniform(at::Tensor tensor, double bound, uint64_t seed,
                  std::string_view name);  ///< in [-bound, bound)

}  // namespace phalanx::model
