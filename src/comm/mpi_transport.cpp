#include "comm/mpi_transport.h"

#include <spdlog/spdlog.h>

#include "comm/mpi_error.h"

namespace phalanx::comm {
namespace {

/// A send or recv under way; MPI moves it on whenever any thread of this process is inside MPI.
class MessageWork : public Work {
 public:
  MessageWork(std::shared_ptr<MpiGroup> group, at::Tensor tensor, const char* what, int peer,
              int64_t expected_bytes, std::vector<MPI_Request> requests)
      : group_(std::move(group)),
        tensor_(std::move(tensor)),
        what_(what),
        peer_(peer),
        expected_bytes_(expected_bytes) {
    transfer_.add(std::move(requests));
  }

  ~MessageWork() override {
    if (!transfer_.done())  // MPI still has its address
      group_->control->keep(std::make_shared<const at::Tensor>(tensor_));
  }

  void wait() override {
    PoliteWait wait(*group_, what_, peer_);
    while (!transfer_.test()) wait.pause();
    if (expected_bytes_ >= 0 && transfer_.received_bytes() != expected_bytes_) {
      core::fail(core::ExitCode::kBug, "recv: the message has {} bytes, expected were {}",
                 transfer_.received_bytes(), expected_bytes_);
    }
  }

 private:
  std::shared_ptr<MpiGroup> group_;
  at::Tensor tensor_;
  const char* what_;
  int peer_;
  int64_t expected_bytes_;  // -1: a send
  Transfer transfer_;
};

}  // namespace

MpiTransport::MpiTransport(std::shared_ptr<JobControl> control, MPI_Comm owned, const MpiOptions& options)
    : group_(std::make_shared<MpiGroup>(std::move(control), owned, options)), messages_(*group_) {
  if (!options.shared_memory || !group_->one_host || group_->size == 1) return;
  shared_ = SharedCollectives::make(*group_);
  if (!shared_ && group_->control->rank() == 0) {
    spdlog::warn(
        "the ranks of this host cannot share memory (/proc of other processes is hidden): collectives go "
        "through "
        "MPI messages, which is slower");
  }
}

template <typename Run>
void MpiTransport::run(Run collective) {
  group_->control->check();
  if (shared_) {
    collective(*shared_);
  } else {
    collective(messages_);
  }
}

void MpiTransport::all_reduce(const Call& call, void* data) {
  run([&](auto& backend) { backend.all_reduce(call, data); });
}

void MpiTransport::reduce_scatter(const Call& call, void* output, const void* input) {
  run([&](auto& backend) { backend.reduce_scatter(call, output, input); });
}

void MpiTransport::all_gather(const Call& call, void* output, const void* input) {
  run([&](auto& backend) { backend.all_gather(call, output, input); });
}

void MpiTransport::all_to_all(const Call& call, void* output, const void* input,
                              const std::vector<int64_t>& output_splits,
                              const std::vector<int64_t>& input_splits) {
  run([&](auto& backend) { backend.all_to_all(call, output, input, output_splits, input_splits); });
}

void MpiTransport::broadcast(const Call& call, void* data) {
  run([&](auto& backend) { backend.broadcast(call, data); });
}

void MpiTransport::barrier() {
  run([](auto& backend) { backend.barrier(); });
}

std::unique_ptr<HostTransport> MpiTransport::split(int color, int key) {
  barrier();  // MPI's own waiting below would spin, and would not hear of a failed rank
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(group_->collectives, color, key, &part), "MPI_Comm_split");
  return std::make_unique<MpiTransport>(group_->control, part, group_->options);
}

std::unique_ptr<Work> MpiTransport::send(at::Tensor tensor, int to, int tag) {
  group_->control->check();
  const Parcel parcel{to, const_cast<void*>(tensor.const_data_ptr()), static_cast<int64_t>(tensor.nbytes())};
  auto requests = start_sending(group_->messages, parcel, tag);
  return std::make_unique<MessageWork>(group_, std::move(tensor), "send", to, -1, std::move(requests));
}

std::unique_ptr<Work> MpiTransport::recv(at::Tensor tensor, int from, int tag) {
  group_->control->check();
  const Parcel parcel{from, tensor.mutable_data_ptr(), static_cast<int64_t>(tensor.nbytes())};
  auto requests = start_receiving(group_->messages, parcel, tag);
  return std::make_unique<MessageWork>(group_, std::move(tensor), "recv", from, parcel.bytes,
                                       std::move(requests));
}

}  // namespace phalanx::comm
