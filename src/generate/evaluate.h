#pragma once
#include <cstdint>
#include <vector>

#include "model/causal_lm.h"

namespace phalanx::generate {

/// log p(ids[t] | ids[0..t-1]) in nats for every sequence; as long as its ids, and entry 0, which has nothing
/// before it, is NaN (written as null). The sequences run together without padding, at most `max_tokens`
/// tokens at a time.
/// @throws core::Error (kBadInput) for an empty sequence, an id outside the vocabulary or more tokens than
/// the context.
std::vector<std::vector<double>> score(model::CausalLm& model,
                                       const std::vector<std::vector<int32_t>>& sequences,
                                       int64_t max_tokens = 4096);

}  // namespace phalanx::generate
