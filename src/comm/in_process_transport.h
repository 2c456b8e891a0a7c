#pragma once
#include <memory>

#include "comm/host_transport.h"
#include "comm/in_process_state.h"

namespace phalanx::comm {

/// One thread's end of a group of threads: the ranks read and write each other's tensors directly, each the
/// part that it owns, between two meetings.
class InProcessTransport : public HostTransport {
 public:
  InProcessTransport(std::shared_ptr<InProcessGroup> group, int rank)
      : group_(std::move(group)), rank_(rank) {}
  ~InProcessTransport() override { group_->leave(rank_); }

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  int world_rank() const override { return group_->world_ranks[rank_]; }
  const char* backend() const override { return "in_process"; }

  void all_reduce(const Call& call, void* data) override;
  void reduce_scatter(const Call& call, void* output, const void* input) override;
  void all_gather(const Call& call, void* output, const void* input) override;
  void all_to_all(const Call& call, void* output, const void* input,
                  const std::vector<int64_t>& output_splits,
                  const std::vector<int64_t>& input_splits) override;
  void broadcast(const Call& call, void* data) override;
  void barrier() override;
  std::unique_ptr<HostTransport> split(int color, int key) override;
  std::unique_ptr<Work> send(at::Tensor tensor, int to, int tag) override;
  std::unique_ptr<Work> recv(at::Tensor tensor, int from, int tag) override;
  void keep(std::shared_ptr<const void> memory) override { group_->world->keep(std::move(memory)); }
  void fail(Failure failure) override { group_->world->fail(std::move(failure)); }
  const FailureRecord& failure_record() const override { return group_->world->failure; }

 private:
  const InProcessSlot& slot(int rank) const { return group_->slots[rank]; }
  void begin(const InProcessSlot& mine);  ///< shows it and waits for the others'
  void end(Kind kind) { group_->meet(rank_, name(kind)); }

  std::shared_ptr<InProcessGroup> group_;
  int rank_;
};

}  // namespace phalanx::comm
