#include "parallel/grad_sync.h"

#include <ATen/ATen.h>

#include <atomic>
#include <bit>

#include "core/error.h"
#include "parallel/grad_ready.h"
#include "parallel/tree_grad_sync.h"

namespace phalanx::parallel {
namespace {

/// Sums the micro-steps in place; in the last backward each bucket is reduced over the group as soon as it is
/// complete.
class BucketedGradSync : public GradSync {
 public:
  BucketedGradSync(FlatParameters& parameters, comm::Communicator& group, int64_t bucket_bytes)
      : parameters_(parameters),
        group_(group),
        ready_(parameters, [this](size_t slot) { slot_ready(slot); }) {
    const int64_t bucket_numel = bucket_bytes / parameters.grad().element_size();
    for (const ParameterSlot& slot : parameters.slots()) {
      if (buckets_.empty() || slot.offset - buckets_.back().begin >= bucket_numel) {
        if (!buckets_.empty()) buckets_.back().end = slot.offset;
        buckets_.push_back({slot.offset, 0, 0, 0});
      }
      bucket_of_slot_.push_back(buckets_.size() - 1);
      ++buckets_.back().num_slots;
    }
    buckets_.back().end = parameters.grad().numel();
  }

  void begin_step(int64_t num_micro_steps) override {
    num_micro_steps_ = num_micro_steps;
    parameters_.grad().zero_();
    works_.clear();
    next_bucket_ = 0;
    for (Bucket& bucket : buckets_) bucket.num_ready = 0;
  }

  void before_backward(int64_t micro_step) override { last_ = micro_step + 1 == num_micro_steps_; }
  void after_backward(int64_t) override { ready_.end_backward(); }

  void finish() override {
    while (next_bucket_ < buckets_.size()) reduce_next();  // buckets with parameters that got no gradient
    for (auto& work : works_) work->wait();
    works_.clear();
  }

 private:
  struct Bucket {
    int64_t begin, end;
    int num_slots, num_ready;
  };

  void slot_ready(size_t slot) {
    if (!last_) return;
    ++buckets_[bucket_of_slot_[slot]].num_ready;
    // In buffer order only, so that every rank issues its collectives in the same order.
    while (next_bucket_ < buckets_.size() &&
           buckets_[next_bucket_].num_ready == buckets_[next_bucket_].num_slots)
      reduce_next();
  }

  void reduce_next() {
    const Bucket& bucket = buckets_[next_bucket_++];
    if (group_.size() == 1) return;
    works_.push_back(group_.all_reduce_async(
        parameters_.grad().narrow(0, bucket.begin, bucket.end - bucket.begin), comm::ReduceOp::kSum));
  }

  FlatParameters& parameters_;
  comm::Communicator& group_;
  std::vector<Bucket> buckets_;
  std::vector<size_t> bucket_of_slot_;
  std::vector<std::unique_ptr<comm::Work>> works_;
  size_t next_bucket_ = 0;
  int64_t num_micro_steps_ = 0;
  bool last_ = false;
  GradReady ready_;
};

/// Micro-steps are the leaves of one fixed binary tree over the global batch; see docs/architecture.md.
class TreeGradSync : public GradSync {
 public:
  TreeGradSync(FlatParameters& parameters, comm::Communicator& group)
      : parameters_(parameters), group_(group), ready_(parameters, [](size_t) {}) {
    if (!std::has_single_bit(static_cast<unsigned>(group.size()))) {
      core::fail(
          core::ExitCode::kBadConfig,
          "parallel.dp is {} but must be a power of two with run.determinism: mesh_invariant; try {} or {}",
          group.size(), std::bit_floor(static_cast<unsigned>(group.size())),
          std::bit_ceil(static_cast<unsigned>(group.size())));
    }
  }

  void begin_step(int64_t num_micro_steps) override {
    merges_ = tree_merges(num_micro_steps);
    parameters_.grad().zero_();
    depth_ = 0;
  }

  void before_backward(int64_t) override {}

  void after_backward(int64_t micro_step) override {
    ready_.end_backward();
    for (int i = 0; i < merges_[static_cast<size_t>(micro_step)]; ++i) {
      parameters_.grad().add_(stack_[--depth_]);  // two terms: the sum is the same in either order
    }
    if (micro_step + 1 == static_cast<int64_t>(merges_.size())) return;
    push();
    parameters_.grad().zero_();
  }

  void finish() override {
    const int rank = group_.rank();
    for (int distance = 1; distance < group_.size(); distance *= 2) {
      if (!other_.defined()) other_ = at::empty_like(parameters_.grad());
      const int partner = rank ^ distance;
      auto sent = group_.send_async(parameters_.grad(), partner, distance);
      auto received = group_.recv_async(other_, partner, distance);
      received->wait();
      sent->wait();
      parameters_.grad().add_(other_);
    }
  }

 private:
  void push() {
    if (depth_ == stack_.size()) stack_.push_back(at::empty_like(parameters_.grad()));
    stack_[depth_++].copy_(parameters_.grad());
  }

  FlatParameters& parameters_;
  comm::Communicator& group_;
  std::vector<int> merges_;
  std::vector<at::Tensor> stack_;  // partial sums not yet joined; buffers are kept between steps
  size_t depth_ = 0;
  at::Tensor other_;
  GradReady ready_;
};

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

std::unique_ptr<GradSync> make_grad_sync(FlatParameters& parameters, comm::Communicator& group,
                                         const GradSyncOptions& options) {
  if (options.mesh_invariant) return std::make_unique<TreeGradSync>(parameters, group);
  return std::make_unique<BucketedGradSync>(parameters, group, options.bucket_bytes);
}

}  // namespace phalanx::parallel
