#pragma once
#include <cstdint>

#include "model/causal_lm.h"

namespace phalanx::model {

/// Fresh weights as transformers begins with: matrices normal(0, initializer_range), norms 1, biases 0. Every
/// value depends on (seed, tensor name, index) only. Parameters must be allocated.
void initialize(CausalLm& model, uint64_t seed);

}  // namespace phalanx::model
