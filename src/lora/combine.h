#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "lora/combine_tensors.h"

namespace phalanx::lora {

struct CombineOptions {
  std::string method = "cat";                    ///< one of combine_methods()
  std::optional<double> density = {};            ///< share of elements that stay: of the methods that prune
  MajoritySign majority = MajoritySign::kTotal;  ///< of ties and dare_ties
  std::optional<int64_t> svd_rank = {};  ///< of the methods that end in an SVD; otherwise the largest rank
  uint64_t seed = 0;                     ///< of dare's
};

/// The names that PEFT's add_weighted_adapter has. With w = weight * scale of each adapter:
///
///     cat           B A = sum w B_i A_i, exactly: factors beside each other, ranks add up
///     svd           the nearest product of svd_rank to that sum
///     linear        A = sum sign(w) sqrt|w| A_i, B = sum sqrt|w| B_i
///     ties, dare_linear, dare_ties, magnitude_prune   the same, the factors pruned and added as those
///     methods do ties_svd, dare_linear_svd, dare_ties_svd, magnitude_prune_svd   done with w B_i A_i, then
///     as svd
const std::vector<std::string>& combine_methods();

struct WeightedAdapter {
  AdapterFiles files;
  double weight = 1;
};

/// One adapter of several on the same base, in memory. Its scale is 1 everywhere: r and alpha are the rank of
/// the new factors. A module that only some of the adapters have is combined from those.
/// @throws core::Error (kBadConfig) for options that do not go with the method or are missing, for ranks that
/// differ where the factors are added, for DoRA and modules_to_save, which have no weighted sum; as
/// load_adapter().
AdapterFiles combine(const std::vector<WeightedAdapter>& adapters, const model::TransformerConfig& base,
                     const CombineOptions& options);

}  // namespace phalanx::lora
