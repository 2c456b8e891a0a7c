#include "parallel/zero.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace phalanx::parallel {
namespace {

constexpr size_t kMostUnderWay =
    2;  // gradients of so many blocks are whole at once, beside the one in the making

}  // namespace

bool Zero::reduces_every_micro_step() const {
  return parameters().has_sharded_grad();
}

void Zero::start(size_t block) {
  FlatParameters& p = parameters();
  const at::Tensor whole = p.has_sharded_grad() ? (p.grad(block), p.drop_grad(block)) : p.grad(block);
  at::Tensor owned = at::empty({p.blocks()[block].owned_numel}, whole.options());
  comm::Communicator& shard = mesh().holders(p.blocks()[block].is_expert).shard;
  auto work = shard.reduce_scatter_async(owned, whole, comm::ReduceOp::kSum);
  under_way_.push_back({block, whole, owned, std::move(work)});
  if (p.has_sharded_grad() && under_way_.size() > kMostUnderWay) take_oldest();
}

void Zero::take_oldest() {
  Reduction& oldest = under_way_.front();
  oldest.work->wait();
  at::Tensor owned = parameters().owned_grad(oldest.block);
  if (parameters().has_sharded_grad()) {
    owned.add_(oldest.owned);
  } else {
    owned.copy_(oldest.owned);
  }
  under_way_.pop_front();
}

void Zero::wait_for_all() {
  const at::NoGradGuard no_grad;
  while (!under_way_.empty()) take_oldest();
}

void Zero::finish() {
  BlockGradSync::finish();
  if (mesh().replicate().size() == 1) return;
  std::vector<std::unique_ptr<comm::Work>> works;
  for (size_t b = 0; b < parameters().blocks().size(); ++b)
    works.push_back(mesh().replicate().all_reduce_async(parameters().owned_grad(b), comm::ReduceOp::kSum));
  for (auto& work : works) work->wait();
}

void Zero::after_update() {
  gather_weights(parameters(), mesh());
}

void gather_weights(FlatParameters& parameters, const Mesh& mesh) {
  if (parameters.options().zero_stage == 0 || mesh.shard().size() == 1) return;
  std::vector<std::unique_ptr<comm::Work>> works;
  for (size_t b = 0; b < parameters.blocks().size(); ++b) {
    if (!parameters.blocks()[b].is_resident) continue;  // gathered when it is used
    comm::Communicator& shard = mesh.holders(parameters.blocks()[b].is_expert).shard;
    works.push_back(shard.all_gather_async(parameters.compute(b), parameters.owned_compute(b).clone()));
  }
  for (auto& work : works) work->wait();
}

}  // namespace phalanx::parallel
