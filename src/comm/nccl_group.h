#pragma once
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/nccl_communicator.h"

namespace phalanx::comm {

/// One rank's end of an NCCL communicator (non-blocking: every wait can be given up) and its stream.
/// Thread-safe. After the first error all later calls throw the same one.
class NcclGroup : public std::enable_shared_from_this<NcclGroup> {
 public:
  using Enqueue = std::function<ncclResult_t(ncclComm_t, cudaStream_t)>;

  NcclGroup(std::unique_ptr<Communicator> host, const NcclOptions& options);  ///< collective
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  Communicator& host() const { return *host_; }
  const NcclOptions& options() const { return options_; }
  at::Device device() const { return {at::kCUDA, static_cast<at::DeviceIndex>(options_.device_index)}; }

  /// Queues a collective on the group's stream, which is the current stream while `enqueue` and `afterwards`
  /// (what ATen has to do to the result) run. `tensors` are all that it reads or writes.
  std::unique_ptr<Work> launch(std::string what, std::vector<at::Tensor> tensors, const Enqueue& enqueue,
                               const std::function<void()>& afterwards = {});

  void drain();  ///< waits until the stream is empty

  /// Waits for `event`, which was recorded behind `what`; listens for failed ranks and for NCCL's errors.
  void wait(cudaEvent_t event, const std::string& what);

 private:
  using Clock = std::chrono::steady_clock;
  void connect();
  void settle(ncclResult_t result, const std::string& what);
  void keep_waiting(const std::string& what, Clock::time_point since);
  void check_async(const std::string& what);
  [[noreturn]] void break_with(const std::string& what, const std::string& problem);
  void abort_nccl();
  bool stream_is_idle() const;
  template <typename Body>
  void guarded(Body body);  ///< remembers what `body` throws, and ends the kernels that wait for others

  std::unique_ptr<Communicator> host_;
  NcclOptions options_;
  c10::cuda::CUDAStream stream_;
  int exceptions_at_start_ = std::uncaught_exceptions();
  std::mutex mutex_;  // around all NCCL calls
  ncclComm_t comm_ = nullptr;
  std::exception_ptr broken_;
};

}  // namespace phalanx::comm
