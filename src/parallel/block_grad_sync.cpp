#include "parallel/block_grad_sync.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "ops/adamw.h"

namespace phalanx::parallel {

BlockGradSync::BlockGradSync(FlatParameters& parameters, const Mesh& mesh)
    : parameters_(parameters),
      mesh_(mesh),
      ready_(parameters, [this](size_t slot) { slot_ready(slot); }),
      num_ready_(parameters.blocks().size(), 0),
      is_ready_(parameters.slots().size(), false) {}

void BlockGradSync::begin_step(int64_t num_micro_steps) {
  num_micro_steps_ = num_micro_steps;
  is_last_ = false;
  parameters_.zero_grad();
  ready_.reset();
  next_block_ = 0;
  forget_ready();
}

void BlockGradSync::forget_ready() {
  std::fill(num_ready_.begin(), num_ready_.end(), 0);
  std::fill(is_ready_.begin(), is_ready_.end(), false);
}

void BlockGradSync::before_backward(int64_t micro_step) {
  is_last_ = micro_step + 1 == num_micro_steps_;
}

void BlockGradSync::after_backward(int64_t) {
  ready_.end_backward();
  if (!reduces_every_micro_step()) return;
  while (next_block_ < num_ready_.size()) start_next();  // blocks with parameters that got no gradient
  next_block_ = 0;
  forget_ready();
}

void BlockGradSync::finish() {
  if (!reduces_every_micro_step()) {
    while (next_block_ < num_ready_.size()) start_next();
  }
  wait_for_all();
  add_tied_gradients(parameters_);
}

double BlockGradSync::grad_norm() {
  return global_grad_norm(parameters_, mesh_);
}

void BlockGradSync::slot_ready(size_t slot) {
  if (!is_active() || is_ready_[slot]) return;
  is_ready_[slot] = true;
  ++num_ready_[parameters_.slots()[slot].block];
  while (next_block_ < num_ready_.size()) {
    const ParameterBlock& block = parameters_.blocks()[next_block_];
    if (num_ready_[next_block_] < block.end_slot - block.first_slot) return;
    start_next();
  }
}

void BlockGradSync::start_next() {
  const size_t block = next_block_++;
  add_partial_gradients(parameters_, block);
  start(block);
}

void add_partial_gradients(FlatParameters& parameters, size_t block) {
  // In the order of the slots, which is the same on all ranks of a group; one message for all slots of a
  // group.
  std::vector<std::pair<comm::Communicator*, std::vector<at::Tensor>>> by_group;
  for (size_t s = parameters.blocks()[block].first_slot; s < parameters.blocks()[block].end_slot; ++s) {
    const ParameterSlot& slot = parameters.slots()[s];
    comm::Communicator* group = slot.traits.partial_over;
    if (!group || group->size() == 1) continue;
    auto found =
        std::find_if(by_group.begin(), by_group.end(), [&](const auto& g) { return g.first == group; });
    if (found == by_group.end()) found = by_group.insert(by_group.end(), {group, {}});
    found->second.push_back(parameters.grad(slot).view(-1));
  }
  for (auto& [group, gradients] : by_group) {
    const at::Tensor joined = at::cat(gradients);
    group->all_reduce(joined);
    int64_t begin = 0;
    for (at::Tensor& gradient : gradients) {
      gradient.copy_(joined.narrow(0, begin, gradient.numel()));
      begin += gradient.numel();
    }
  }
}

void add_tied_gradients(FlatParameters& parameters) {
  for (const ParameterSlot& slot : parameters.slots()) {
    if (slot.traits.tied_over) slot.traits.tied_over->all_reduce(parameters.owned_grad(slot.block));
  }
}

double global_grad_norm(const FlatParameters& parameters, const Mesh& mesh) {
  double of_all = 0, of_experts = 0;
  for (const OwnedPiece& piece : parameters.owned_pieces()) {
    if (piece.slot->traits.is_copy) continue;
    (piece.slot->traits.is_expert ? of_experts : of_all) += ops::squared_norm(parameters.owned_grad(piece));
  }
  const bool is_sharded = parameters.options().zero_stage > 0;
  // Of whole gradients experts alone differ among data-parallel ranks.
  double sum = is_sharded ? mesh.shard().all_reduce_scalar(of_all + of_experts)
                          : of_all + mesh.ep().all_reduce_scalar(of_experts);
  sum = mesh.tp().all_reduce_scalar(sum);
  return std::sqrt(mesh.pp().all_reduce_scalar(sum));
}

}  // namespace phalanx::parallel
