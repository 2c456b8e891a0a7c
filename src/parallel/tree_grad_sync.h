#pragma once
#include <cstdint>
#include <vector>

#include "parallel/grad_ready.h"
#include "parallel/grad_sync.h"

namespace phalanx::parallel {

/// run.determinism: mesh_invariant. Micro-steps are single sequences; their gradients are added along one
/// fixed binary tree over the index of the sequence in the global batch: each rank does its sub-tree, ranks
/// join theirs by recursive doubling over mesh.batch() (a power of two). The norm is summed parameter by
/// parameter in execution order. So the bits do not depend on how many ranks, accumulation steps, ZeRO shards
/// or pipeline stages there are. Bytes sent per rank and step: log2(N) times the gradient; memory: the whole
/// gradient, and one more for each level of the tree.
class TreeGradSync : public GradSync {
 public:
  TreeGradSync(FlatParameters& parameters, const Mesh& mesh, const GradSyncOptions& options);
  void begin_step(int64_t num_micro_steps) override;
  void before_backward(int64_t micro_step) override;
  void after_backward(int64_t micro_step) override;
  void finish() override;
  double grad_norm() override;
  void after_update() override;

 private:
  /// One gradient that is summed along the tree.
  struct Tree {
    at::Tensor sum;
    std::vector<at::Tensor> stack;  // partial sums not yet joined; buffers are kept between steps
    size_t depth = 0;
    at::Tensor other;

    void begin();
    void add_leaf(int num_merges, bool is_last);  // `sum` is the leaf, then what it is joined to
    void join(comm::Communicator& group);
  };

  const ParameterSlot* tied_slot() const;

  FlatParameters& parameters_;
  const Mesh& mesh_;
  std::vector<std::string> order_;
  std::string tied_weight_;
  std::vector<int> merges_;
  Tree all_;
  // The head's part of the gradient of a tied weight. It comes in the forward, the embedding's in the
  // backward, and with pipeline stages from another rank: so the two are summed apart and added at the end.
  Tree head_;
  GradReady ready_;
};

/// How many neighbouring partial sums are to be joined after each leaf, for the tree that halves [0,
/// num_leaves) from the top: sum(lo, hi) = sum(lo, mid) + sum(mid, hi), mid = (lo + hi) / 2. merges[i] counts
/// the joins that leaf i completes. If the range is first cut into 2^k equal parts, each part's tree is a
/// sub-tree of the whole: that is why the result does not depend on how many ranks share the leaves.
std::vector<int> tree_merges(int64_t num_leaves);

}  // namespace phalanx::parallel
