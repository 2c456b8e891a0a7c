#pragma once
#include <cstdint>

#include "model/causal_lm.h"

namespace phalanx::model {

/// Fresh weights, as transformers begins with, for every parameter that has no memory yet: matrices normal(0,
/// initializer_range), norms 1, biases 0. Every value depends on (seed, tensor name, index in the whole
/// tensor) only, however the model is cut.
void initialize(CausalLm& model, at::ScalarType dtype, uint64_t seed);

}  // namespace phalanx::model
