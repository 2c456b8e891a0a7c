#pragma once
#include <cstdint>
#include <span>

namespace phalanx::ops {

/// log softmax(logits)[label] of one row, with the bits that token_logprobs gives for these logits.
double label_logprob(std::span<const float> logits, int64_t label);

}  // namespace phalanx::ops
