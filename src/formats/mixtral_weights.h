#pragma once
#include <memory>
#include <string>

#include "formats/tensor_file.h"

namespace phalanx::formats {

/// How a family calls what transformers 5 holds as `.mlp.` with experts in two tensors.
struct ExpertNames {
  std::string block;       ///< ".block_sparse_moe."
  std::string w1, w3, w2;  ///< gate, up, down
};
inline const ExpertNames kMixtralExperts = {".block_sparse_moe.", "w1", "w3", "w2"};

/// The weights of a mixture of experts under the names that its folders have,
/// "...block_sparse_moe.experts.3.w1.weight", whichever way the file spells them. transformers 5 holds, and
/// can be told to save, the experts of a layer as two tensors:
///
///     mlp.experts.gate_up_proj [E, 2 f, h]   w1 and below it w3 of each expert
///     mlp.experts.down_proj    [E, h, f]     w2
///     mlp.gate.weight          [E, h]
///
/// They are cut where they lie, without a copy. A file that has none of these comes back as it is; what does
/// not have these shapes keeps its name, and is refused as everything that no model has a place for.
std::shared_ptr<const TensorFile> expert_weights(std::shared_ptr<const TensorFile> file,
                                                 const ExpertNames& names = kMixtralExperts);

}  // namespace phalanx::formats
