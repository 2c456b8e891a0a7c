#pragma once
#include <memory>

#include "comm/host_transport.h"
#include "comm/mpi_group.h"
#include "comm/mpi_messages.h"
#include "comm/shared_collectives.h"

namespace phalanx::comm {

/// One process's end of a group under MPI: collectives through shared memory when all ranks are on this host,
/// else through messages; send and recv always through MPI.
class MpiTransport : public HostTransport {
 public:
  MpiTransport(std::shared_ptr<JobControl> control, MPI_Comm owned,
               const MpiOptions& options);  ///< collective

  int rank() const override { return group_->rank; }
  int size() const override { return group_->size; }
  int world_rank() const override { return group_->control->rank(); }
  const char* backend() const override { return "mpi"; }

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
  void keep(std::shared_ptr<const void> memory) override { group_->control->keep(std::move(memory)); }
  void fail(Failure failure) override { group_->control->fail(failure); }
  const FailureRecord& failure_record() const override { return group_->control->record(); }
  void check() override { group_->control->check(); }  // hears first: nothing else may be waiting

 private:
  template <typename Run>
  void run(Run collective);  ///< over shared_ or messages_

  std::shared_ptr<MpiGroup> group_;  // shared with the sends and receives under way
  MpiMessages messages_;
  std::unique_ptr<SharedCollectives> shared_;  // null: ranks on several hosts, or not wanted
};

}  // namespace phalanx::comm
