#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "model/causal_lm.h"
#include "model/save.h"

namespace phalanx::generate {

/// The importance matrix of a model: for each input column of each Linear, the mean of x^2 over the tokens of
/// a calibration text, which is what a rounding error of a weight in that column is multiplied by in the
/// squared error of the Linear's output. An adapter that is installed takes part.
/// @param ids              at least one token; run as separate sequences of `sequence_length`.
/// @throws core::Error (kBadInput) for no tokens.
model::Importance gather_importance(model::CausalLm& model, const std::vector<int32_t>& ids,
                                    int64_t sequence_length = 512);

/// The same from a GGUF file that llama.cpp's llama-imatrix wrote for this model: tensors NAME.in_sum2 (sums
/// of x^2) and NAME.counts (tokens).
/// @throws core::Error (kBadInput) for another kind of file, a matrix that the model does not have or whose
/// rows have another length, or values that are no means of squares.
model::Importance read_importance(const std::filesystem::path& file, const model::CausalLm& model);

}  // namespace phalanx::generate
