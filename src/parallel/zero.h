#pragma once
#include <deque>

#include "parallel/block_grad_sync.h"

namespace phalanx::parallel {

/// ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054) over mesh.shard(), with copies over mesh.replicate()
/// (hybrid sharding, HSDP); blocks of experts over Mesh::holders(true). What each rank keeps is in
/// FlatParameters; what moves:
///
///     stage 1   last backward:   reduce_scatter each block of the gradient      2 (N-1)/N Psi in all
///               after the step:  all_gather each block of the weights
///     stage 2   every backward:  reduce_scatter, the block's gradient is dropped   (gradients once per
///     micro-step)
///               after the step:  all_gather
///     stage 3   every forward and backward: all_gather a block before it is used (sharded_weights.h), drop
///     it after
///               every backward:  reduce_scatter                                 3 (N-1)/N Psi in all
///
/// With replicas the owned parts of the gradient are all-reduced over mesh.replicate() at the end of the
/// step.
class Zero : public BlockGradSync {
 public:
  Zero(FlatParameters& parameters, const Mesh& mesh) : BlockGradSync(parameters, mesh) {}
  void finish() override;
  void after_update() override;

 private:
  void start(size_t block) override;
  void wait_for_all() override;
  bool reduces_every_micro_step() const override;
  void take_oldest();

  struct Reduction {
    size_t block;
    at::Tensor whole, owned;
    std::unique_ptr<comm::Work> work;
  };
  std::deque<Reduction> under_way_;
};

/// The whole weights of every resident block from the parts that the ranks of mesh.shard() own. Nothing at
/// stage 0.
void gather_weights(FlatParameters& parameters, const Mesh& mesh);

}  // namespace phalanx::parallel
