#pragma once
#include <cstdint>
#include <vector>

namespace phalanx::parallel {

/// How many neighbouring partial sums are to be joined after each leaf, for the tree that halves [0,
/// num_leaves) from the top: sum(lo, hi) = sum(lo, mid) + sum(mid, hi), mid = (lo + hi) / 2. merges[i] counts
/// the joins that leaf i completes. If the range is first cut into 2^k equal parts, each part's tree is a
/// sub-tree of the whole: that is why the result does not depend on how many ranks share the leaves.
std::vector<int> tree_merges(int64_t num_leaves);

}  // namespace phalanx::parallel
