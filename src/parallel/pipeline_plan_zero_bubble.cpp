#include "parallel/pipeline_plan_zero_bubble.h"

#include <utility>

namespace phalanx::parallel {
namespace {

using enum PipelineAction;

/// A list in the making. Each action takes a chunk's micro-batches in order, so a step is told by the two.
class StepList {
 public:
  explicit StepList(int64_t num_micro_batches) : num_micro_batches_(num_micro_batches) {}

  /// Adds the step for the next micro-batch; nothing if all have had it.
  void add(PipelineAction action, int64_t chunk) {
    int64_t& next = count(action, chunk);
    if (next < num_micro_batches_) steps_.push_back({action, next++, chunk});
  }
  /// Adds a weight gradient that can be done by now, of chunk 1 if there is one: its inputs' gradients come
  /// first. Nothing if all that can be done are done.
  void add_any_weight() {
    for (const int64_t chunk : {1, 0})
      if (num_put_off(chunk) > 0) return add(kBackwardWeight, chunk);
  }
  int64_t num_done(PipelineAction action, int64_t chunk) { return count(action, chunk); }
  /// Weight gradients that could be done by now and are not.
  int64_t num_put_off(int64_t chunk) { return count(kBackwardInput, chunk) - count(kBackwardWeight, chunk); }

  std::vector<PipelineStep> take() { return std::move(steps_); }

 private:
  int64_t& count(PipelineAction action, int64_t chunk) { return counts_[static_cast<size_t>(action)][chunk]; }

  int64_t num_micro_batches_;
  int64_t counts_[4][2] = {};  // by action and chunk
  std::vector<PipelineStep> steps_;
};

/// ZB-V of few micro-batches, m <= p: room is no concern, so every weight gradient can wait for an idle step.
///
/// The last rank has both ends of the turn and does its forwards of chunk 0 and chunk 1 in turn, so from then
/// on every message is two steps after the one before it. Count in pairs of steps from where this rank
/// receives its first chunk 1: forwards of chunk 1 take the even steps of pairs 0 .. m-1, input gradients of
/// chunk 1 the odd ones from pair `rank` on (they have been to rank 0 and back), those of chunk 0 the even
/// ones from pair p on. The steps between are free, first for the forwards of chunk 0 that are left.
std::vector<PipelineStep> v_of_few(int64_t p, int64_t m, int64_t rank) {
  StepList list(m);
  for (int64_t i = 0; i < 2 * (p - rank) - 1; ++i) list.add(kForward, 0);
  for (int64_t pair = 0; pair < p + m; ++pair) {
    if (pair < m) {
      list.add(kForward, 1);
    } else if (pair < p) {
      list.add_any_weight();
    } else {
      list.add(kBackwardInput, 0);
    }
    if (pair < rank) {
      list.add(kForward, 0);
    } else if (pair < rank + m) {
      list.add(kBackwardInput, 1);
    } else {
      list.add_any_weight();
    }
  }
  while (list.num_put_off(0) + list.num_put_off(1) > 0) list.add_any_weight();
  return list.take();
}

/// ZB-V of many micro-batches, m >= 2p - 1. While the first one goes to the last rank, back to rank 0 and the
/// same way again as a gradient, the ranks fill up to their limit of 2p chunks; from then on each forward of
/// chunk 0 takes the room of a weight gradient.
std::vector<PipelineStep> v_of_many(int64_t p, int64_t m, int64_t rank) {
  StepList list(m);
  const auto finish = [&list](int64_t chunk) {
    list.add(kBackwardInput, chunk);
    list.add(kBackwardWeight, chunk);
  };
  // Until the first micro-batch is back from the last rank.
  for (int64_t i = 0; i < 2 * (p - rank) - 1; ++i) list.add(kForward, 0);
  // Until its gradient comes from rank 0.
  for (int64_t i = 0; i < rank; ++i) {
    list.add(kForward, 1);
    list.add(kForward, 0);
  }
  // Until that gradient is back from the last rank.
  for (int64_t i = 0; i < p - rank; ++i) {
    list.add(kForward, 1);
    finish(1);
  }
  while (list.num_done(kForward, 1) < m) {
    list.add(kForward, 0);
    finish(0);
    list.add(kForward, 1);
    finish(1);
  }
  // Other ranks wait for the last gradients of inputs; those of weights keep this rank busy to the end.
  for (int64_t i = 0; i < rank; ++i) {
    list.add(kBackwardInput, 0);
    list.add(kBackwardInput, 1);
  }
  while (list.num_done(kBackwardInput, 0) < m) finish(0);
  while (list.num_put_off(0) + list.num_put_off(1) > 0) list.add_any_weight();
  return list.take();
}

}  // namespace

std::vector<PipelineStep> zero_bubble_h1_steps(int64_t num_ranks, int64_t num_micro_batches, int64_t rank) {
  StepList list(num_micro_batches);
  // Rank r warms up with p - r forwards and then keeps the weight gradients r micro-batches behind, so all
  // ranks hold p micro-batches. Without those r the gradients of the inputs reach rank 0 after 2p - 1 steps
  // instead of 3p - 2, and at the end, when a rank waits between gradients, they are there to be done.
  for (int64_t i = 0; i < num_ranks - rank; ++i) list.add(kForward, 0);
  for (int64_t i = 0; i < num_micro_batches; ++i) {
    list.add(kBackwardInput, 0);
    if (i >= rank) list.add(kBackwardWeight, 0);
    list.add(kForward, 0);
  }
  while (list.num_put_off(0) > 0) list.add(kBackwardWeight, 0);
  return list.take();
}

std::vector<PipelineStep> zero_bubble_v_steps(int64_t num_ranks, int64_t num_micro_batches, int64_t rank) {
  return num_micro_batches <= num_ranks ? v_of_few(num_ranks, num_micro_batches, rank)
                                        : v_of_many(num_ranks, num_micro_batches, rank);
}

}  // namespace phalanx::parallel
