#include "comm/nccl_group.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <cstring>
#include <thread>

#include "core/error.h"

namespace phalanx::comm {
namespace {

constexpr std::chrono::microseconds kSpin{100};
constexpr std::chrono::microseconds kSleep{50};

c10::cuda::CUDAStream take_stream(const NcclOptions& options) {
  const int num_devices = c10::cuda::device_count();
  if (options.device_index < 0 || options.device_index >= num_devices) {
    core::fail(core::ExitCode::kBadConfig,
               "this rank is to use GPU {}, but this machine shows {} GPUs: start at most one rank for each "
               "GPU, see CUDA_VISIBLE_DEVICES, or train on the CPU",
               options.device_index, num_devices);
  }
  return c10::cuda::getStreamFromPool(/*isHighPriority=*/true,
                                      static_cast<c10::DeviceIndex>(options.device_index));
}

class Event {
 public:
  Event() { C10_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~Event() { C10_CUDA_CHECK_WARN(cudaEventDestroy(event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream) { C10_CUDA_CHECK(cudaEventRecord(event_, stream)); }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class NcclWork : public Work {
 public:
  NcclWork(std::shared_ptr<NcclGroup> group, std::string what, std::vector<at::Tensor> tensors)
      : group_(std::move(group)), what_(std::move(what)), tensors_(std::move(tensors)) {}
  void record(cudaStream_t stream) { done_.record(stream); }

  void wait() override {
    const c10::cuda::CUDAGuard guard(group_->device());
    group_->wait(done_.get(), what_);
    tensors_.clear();
  }

 private:
  std::shared_ptr<NcclGroup> group_;
  std::string what_;
  std::vector<at::Tensor> tensors_;
  Event done_;
};

bool has_happened(cudaEvent_t event) {
  const cudaError_t state = cudaEventQuery(event);
  if (state == cudaErrorNotReady) {
    (void)cudaGetLastError();  // it is no error
    return false;
  }
  C10_CUDA_CHECK(state);
  return true;
}

}  // namespace

NcclGroup::NcclGroup(std::unique_ptr<Communicator> host, const NcclOptions& options)
    : host_(std::move(host)), options_(options), stream_(take_stream(options)) {
  const c10::cuda::CUDAGuard guard(device());
  guarded([this] { connect(); });
}

NcclGroup::~NcclGroup() {
  const c10::cuda::CUDAGuard guard(device());
  // An orderly end waits for the other ranks: not where an exception is on its way up, nor with work left
  // over.
  const bool orderly = !broken_ && std::uncaught_exceptions() <= exceptions_at_start_ && stream_is_idle();
  if (!orderly) {
    abort_nccl();
    return;
  }
  try {
    settle(ncclCommFinalize(comm_), "leaving the group");
    ncclCommDestroy(comm_);
  } catch (...) {
    abort_nccl();  // a destructor has nobody to tell; the others see it in their own calls
  }
}

void NcclGroup::connect() {
  ncclUniqueId id{};
  if (host_->rank() == 0) settle(ncclGetUniqueId(&id), "making the unique id");
  const std::string bytes = host_->broadcast_string(std::string(id.internal, sizeof(id.internal)));
  std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  settle(ncclCommInitRankConfig(&comm_, host_->size(), id, host_->rank(), &config), "joining the group");
}

template <typename Body>
void NcclGroup::guarded(Body body) {
  const std::lock_guard lock(mutex_);
  if (broken_) std::rethrow_exception(broken_);
  try {
    body();
  } catch (...) {
    broken_ = std::current_exception();
    abort_nccl();
    throw;
  }
}

std::unique_ptr<Work> NcclGroup::launch(std::string what, std::vector<at::Tensor> tensors,
                                        const Enqueue& enqueue, const std::function<void()>& afterwards) {
  const c10::cuda::CUDAGuard device_guard(device());
  auto work = std::make_unique<NcclWork>(shared_from_this(), what, tensors);
  guarded([&] {
    host_->check();
    Event ready;
    ready.record(c10::cuda::getCurrentCUDAStream(device().index()));
    C10_CUDA_CHECK(cudaStreamWaitEvent(stream_, ready.get()));
    for (const at::Tensor& tensor : tensors) {
      // Memory that is freed early is not given to others before this stream is through with it.
      c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), stream_);
    }
    const c10::cuda::CUDAStreamGuard stream_guard(stream_);
    settle(enqueue(comm_, stream_), what);
    if (afterwards) afterwards();
    work->record(stream_);
  });
  return work;
}

void NcclGroup::drain() {
  const c10::cuda::CUDAGuard guard(device());
  Event end;
  end.record(stream_);
  wait(end.get(), "barrier");
}

void NcclGroup::wait(cudaEvent_t event, const std::string& what) {
  const auto start = Clock::now();
  while (true) {
    bool done = false;
    guarded([&] {
      done = has_happened(event);
      if (!done) {
        check_async(what);
        keep_waiting(what, start);
      }
    });
    if (done) return;
    if (Clock::now() - start > kSpin) std::this_thread::sleep_for(kSleep);
  }
}

void NcclGroup::check_async(const std::string& what) {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t result = ncclCommGetAsyncError(comm_, &state);
  if (result != ncclSuccess) state = result;
  if (state != ncclSuccess && state != ncclInProgress) settle(state, what);
}

/// The one place where NCCL's return codes are met.
void NcclGroup::settle(ncclResult_t result, const std::string& what) {
  const auto start = Clock::now();
  while (result == ncclInProgress) {
    keep_waiting(what, start);
    if (Clock::now() - start > kSpin) std::this_thread::sleep_for(kSleep);
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
    if (asked != ncclSuccess) result = asked;
  }
  if (result == ncclSuccess) return;
  const char* const detail = ncclGetLastError(comm_);
  break_with(what,
             fmt::format("NCCL: {}{}{}; NCCL_DEBUG=INFO says more", ncclGetErrorString(result),
                         detail != nullptr && *detail != 0 ? ": " : "", detail != nullptr ? detail : ""));
}

void NcclGroup::keep_waiting(const std::string& what, Clock::time_point since) {
  host_->check();
  if (options_.timeout_s <= 0) return;
  if (std::chrono::duration<double>(Clock::now() - since).count() < options_.timeout_s) return;
  break_with(what, fmt::format("timed out after {} s: another rank did not come", options_.timeout_s));
}

void NcclGroup::break_with(const std::string& what, const std::string& problem) {
  core::fail(core::ExitCode::kBug, "rank {} of a group of {}: {}: {}", host_->rank(), host_->size(), what,
             problem);
}

void NcclGroup::abort_nccl() {
  if (comm_ != nullptr) ncclCommAbort(comm_);
  comm_ = nullptr;
}

bool NcclGroup::stream_is_idle() const {
  // Not stream_.query(), which throws after a device error: this is asked in a destructor. The error is kept
  // for whoever synchronizes next.
  return cudaStreamQuery(stream_) == cudaSuccess;
}

}  // namespace phalanx::comm
