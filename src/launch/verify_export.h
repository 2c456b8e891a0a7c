#pragma once
#include <string>
#include <vector>

namespace phalanx::launch {

/// `phalanx verify export A B`: any two models, every tensor within what rounding explains, then
/// log-probabilities on the built-in texts. No model is held.
/// @throws core::Error (kBadInput) naming the first wrong tensor, or with the comparison and its limits.
int run_verify_export(const std::string& a, const std::string& b, const std::vector<std::string>& sets);

}  // namespace phalanx::launch
