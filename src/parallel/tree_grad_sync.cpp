#include "parallel/tree_grad_sync.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>
#include <map>

#include "core/error.h"
#include "ops/adamw.h"
#include "parallel/block_grad_sync.h"
#include "parallel/zero.h"

namespace phalanx::parallel {
namespace {

void count_merges(int64_t begin, int64_t end, std::vector<int>& merges) {
  if (end - begin < 2) return;
  const int64_t middle = begin + (end - begin) / 2;
  count_merges(begin, middle, merges);
  count_merges(middle, end, merges);
  ++merges[static_cast<size_t>(end - 1)];
}

}  // namespace

std::vector<int> tree_merges(int64_t num_leaves) {
  std::vector<int> merges(static_cast<size_t>(num_leaves), 0);
  count_merges(0, num_leaves, merges);
  return merges;
}

TreeGradSync::TreeGradSync(FlatParameters& parameters, const Mesh& mesh, const GradSyncOptions& options)
    : parameters_(parameters),
      mesh_(mesh),
      order_(options.trained_names),
      tied_weight_(options.tied_weight),
      ready_(parameters, [](size_t) {}) {
  all_.sum = parameters.whole_grad();
  if (const ParameterSlot* slot = tied_slot()) head_.sum = at::zeros_like(parameters.grad(*slot));
  const auto size = static_cast<unsigned>(mesh.batch().size());
  if (!std::has_single_bit(size)) {
    core::fail(
        core::ExitCode::kBadConfig,
        "parallel.dp is {} but must be a power of two with run.determinism: mesh_invariant; try {} or {}",
        size, std::bit_floor(size), std::bit_ceil(size));
  }
}

const ParameterSlot* TreeGradSync::tied_slot() const {
  for (const ParameterSlot& slot : parameters_.slots()) {
    if (slot.name == tied_weight_) return &slot;
  }
  return nullptr;
}

void TreeGradSync::Tree::begin() {
  depth = 0;
  if (sum.defined()) sum.zero_();
}

void TreeGradSync::Tree::add_leaf(int num_merges, bool is_last) {
  for (int i = 0; i < num_merges; ++i) sum.add_(stack[--depth]);  // two terms: the same in either order
  if (is_last) return;
  if (depth == stack.size()) stack.push_back(at::empty_like(sum));
  stack[depth++].copy_(sum);
  sum.zero_();
}

void TreeGradSync::Tree::join(comm::Communicator& group) {
  for (int distance = 1; distance < group.size(); distance *= 2) {
    if (!other.defined()) other = at::empty_like(sum);
    const int partner = group.rank() ^ distance;
    auto sent = group.send_async(sum, partner, distance);
    auto received = group.recv_async(other, partner, distance);
    received->wait();
    sent->wait();
    sum.add_(other);
  }
}

void TreeGradSync::begin_step(int64_t num_micro_steps) {
  merges_ = tree_merges(num_micro_steps);
  parameters_.zero_grad();
  ready_.reset();
  all_.begin();
  head_.begin();
}

void TreeGradSync::before_backward(int64_t) {
  const ParameterSlot* slot = tied_slot();
  if (!slot) return;
  at::Tensor gradient = parameters_.grad(*slot);  // what the forward of this micro-step has left
  head_.sum.copy_(gradient);
  gradient.zero_();
}

void TreeGradSync::after_backward(int64_t micro_step) {
  ready_.end_backward();
  const int merges = merges_[static_cast<size_t>(micro_step)];
  const bool is_last = micro_step + 1 == static_cast<int64_t>(merges_.size());
  all_.add_leaf(merges, is_last);
  if (head_.sum.defined()) head_.add_leaf(merges, is_last);
}

void TreeGradSync::finish() {
  for (size_t b = 0; b < parameters_.blocks().size(); ++b) add_partial_gradients(parameters_, b);
  all_.join(mesh_.batch());
  if (const ParameterSlot* slot = tied_slot()) {
    head_.join(mesh_.batch());
    parameters_.grad(*slot).add_(head_.sum);
  }
  for (const ParameterSlot& slot : parameters_.slots()) {  // whole, for the norm
    if (slot.traits.tied_over) slot.traits.tied_over->all_reduce(parameters_.grad(slot.block));
  }
}

double TreeGradSync::grad_norm() {
  at::Tensor squares = at::zeros({static_cast<int64_t>(order_.size())}, at::kDouble);
  std::map<std::string, const ParameterSlot*> slots;
  for (const ParameterSlot& slot : parameters_.slots()) slots.emplace(slot.name, &slot);
  for (size_t i = 0; i < order_.size(); ++i) {
    const auto found = slots.find(order_[i]);
    if (found == slots.end() || found->second->traits.is_copy) continue;
    squares[static_cast<int64_t>(i)] = ops::squared_norm(parameters_.grad(*found->second));
  }
  mesh_.tp().all_reduce(squares);
  mesh_.pp().all_reduce(squares);  // each entry has one term that is not zero: exact
  double sum = 0;
  for (int64_t i = 0; i < squares.numel(); ++i) sum += squares.const_data_ptr<double>()[i];
  return std::sqrt(sum);
}

void TreeGradSync::after_update() {
  gather_weights(parameters_, mesh_);
}

}  // namespace phalanx::parallel
