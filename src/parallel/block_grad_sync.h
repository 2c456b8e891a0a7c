#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "parallel/grad_ready.h"
#include "parallel/grad_sync.h"

namespace phalanx::parallel {

/// What the schemes have in common that reduce block by block: which blocks are complete, and when. Blocks
/// are started in buffer order only, so that every rank issues its collectives in the same order. Partial
/// gradients (ParameterTraits::partial_over) are added up before their block is started, tied ones in
/// finish().
class BlockGradSync : public GradSync {
 public:
  void begin_step(int64_t num_micro_steps) override;
  void before_backward(int64_t micro_step) override;
  void after_backward(int64_t micro_step) override;
  void finish() override;
  double grad_norm() override;
  void after_update() override {}

 protected:
  BlockGradSync(FlatParameters& parameters, const Mesh& mesh);

  /// The gradient of this block is complete: reduce it. `wait` is called in finish(), or earlier by the
  /// scheme.
  virtual void start(size_t block) = 0;
  virtual void wait_for_all() = 0;
  /// Whether blocks are reduced in the backward of every micro-step, or in the last one only.
  virtual bool reduces_every_micro_step() const = 0;

  FlatParameters& parameters() const { return parameters_; }
  const Mesh& mesh() const { return mesh_; }

 private:
  void slot_ready(size_t slot);
  void start_next();
  void forget_ready();
  void add_partial(size_t block);
  bool is_active() const { return is_last_ || reduces_every_micro_step(); }

  FlatParameters& parameters_;
  const Mesh& mesh_;
  GradReady ready_;
  int64_t num_micro_steps_ = 0;
  bool is_last_ = false;
  size_t next_block_ = 0;
  std::vector<size_t> num_ready_;  // slots, per block
  std::vector<bool>
      is_ready_;  // per slot; split backwards may complete one more than once before its block is
};

/// Sums the gradients of the slots with `traits.partial_over` of a block over these groups, in place.
void add_partial_gradients(FlatParameters& parameters, size_t block);
/// Sums the owned gradients of tied slots over the stages that hold them.
void add_tied_gradients(FlatParameters& parameters);
/// Sum of squares of what this rank answers for, summed over the ranks that hold the rest.
double global_grad_norm(const FlatParameters& parameters, const Mesh& mesh);

}  // namespace phalanx::parallel
