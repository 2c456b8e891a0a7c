#pragma once
#include "parallel/block_grad_sync.h"

namespace phalanx::parallel {

/// Data parallelism (Li et al. 2020, arXiv:2006.15704): every rank has everything and its share of the
/// samples. In the last backward of a step each block of gradients is all-reduced over mesh.batch() (of
/// experts: Mesh::holders(true)) as soon as it is complete.
///
///     rank 0:  backward ... [block 0 done] ... [block 1 done] ...      finish
///                               |  all_reduce      |  all_reduce          wait
///     rank 1:  backward ... [block 0 done] ... [block 1 done] ...      finish
///
/// Bytes sent per rank and step: 2 (N-1)/N x bytes of the gradient; one message per block.
class DataParallel : public BlockGradSync {
 public:
  DataParallel(FlatParameters& parameters, const Mesh& mesh) : BlockGradSync(parameters, mesh) {}

 private:
  void start(size_t block) override;
  void wait_for_all() override;
  bool reduces_every_micro_step() const override { return false; }

  std::vector<std::unique_ptr<comm::Work>> works_;
};

}  // namespace phalanx::parallel
