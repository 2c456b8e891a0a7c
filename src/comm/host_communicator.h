#pragma once
#include <memory>

#include "comm/communicator.h"
#include "comm/host_transport.h"
#include "comm/task_queue.h"

namespace phalanx::comm {

/// A Communicator over host memory: checks arguments, counts bytes and queues the collectives of a
/// HostTransport. Destroying it with collectives under way (an exception is on its way up) fails the job, so
/// that nobody waits for them.
class HostCommunicator : public Communicator {
 public:
  explicit HostCommunicator(std::unique_ptr<HostTransport> transport);
  ~HostCommunicator() override;

  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  std::string backend() const override { return transport_->backend(); }

  std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) override;
  std::unique_ptr<Work> reduce_scatter_async(at::Tensor output, at::Tensor input, ReduceOp op) override;
  std::unique_ptr<Work> all_gather_async(at::Tensor output, at::Tensor input) override;
  std::unique_ptr<Work> all_to_all_async(at::Tensor output, at::Tensor input,
                                         std::vector<int64_t> output_splits,
                                         std::vector<int64_t> input_splits) override;
  std::unique_ptr<Work> broadcast_async(at::Tensor tensor, int root) override;
  std::unique_ptr<Work> send_async(at::Tensor tensor, int to, int tag) override;
  std::unique_ptr<Work> recv_async(at::Tensor tensor, int from, int tag) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int color, int key) override;
  void abort(const std::string& error, core::ExitCode code) override;
  void check() override { transport_->check(); }

 private:
  std::unique_ptr<Work> run(std::function<void()> collective);

  std::unique_ptr<HostTransport> transport_;
  TaskQueue queue_;  // after transport_: its tasks use it
};

}  // namespace phalanx::comm
