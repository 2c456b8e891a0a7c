#include "comm/host_communicator.h"

#include "comm/arguments.h"
#include "comm/traffic.h"

namespace phalanx::comm {
namespace {

/// The result of a collective that ran when it was called.
class FinishedWork : public Work {
 public:
  void wait() override {}
};

int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.numel() * tensor.element_size();
}

}  // namespace

HostCommunicator::HostCommunicator(std::unique_ptr<HostTransport> transport)
    : transport_(std::move(transport)) {}

HostCommunicator::~HostCommunicator() {
  if (queue_.idle()) return;
  transport_->fail({.rank = transport_->world_rank(),
                    .code = core::ExitCode::kBug,
                    .message = "left a group while a collective of it was under way",
                    .provisional = true});
}

std::unique_ptr<Work> HostCommunicator::run(std::function<void()> collective) {
  if (size() == 1) {  // alone: no thread is needed
    collective();
    return std::make_unique<FinishedWork>();
  }
  const auto shared = std::make_shared<const std::function<void()>>(std::move(collective));
  return queue_.push([this, shared] {
    try {
      (*shared)();
    } catch (...) {
      transport_->keep(shared);  // it holds the tensors
      throw;
    }
  });
}

std::unique_ptr<Work> HostCommunicator::all_reduce_async(at::Tensor tensor, ReduceOp op) {
  check_tensor("all_reduce", tensor, at::kCPU);
  count("all_reduce", all_reduce_bytes(bytes_of(tensor), size()));
  const Call call{.kind = Kind::kAllReduce, .dtype = tensor.scalar_type(), .op = op, .numel = tensor.numel()};
  return run([=, this] { transport_->all_reduce(call, tensor.mutable_data_ptr()); });
}

std::unique_ptr<Work> HostCommunicator::reduce_scatter_async(at::Tensor output, at::Tensor input,
                                                             ReduceOp op) {
  check_tensor("reduce_scatter", output, at::kCPU);
  check_tensor("reduce_scatter", input, at::kCPU);
  check_parts("reduce_scatter", input, output, size());
  count("reduce_scatter", one_way_bytes(bytes_of(input), size()));
  const Call call{
      .kind = Kind::kReduceScatter, .dtype = output.scalar_type(), .op = op, .numel = output.numel()};
  return run(
      [=, this] { transport_->reduce_scatter(call, output.mutable_data_ptr(), input.const_data_ptr()); });
}

std::unique_ptr<Work> HostCommunicator::all_gather_async(at::Tensor output, at::Tensor input) {
  check_tensor("all_gather", output, at::kCPU);
  check_tensor("all_gather", input, at::kCPU);
  check_parts("all_gather", output, input, size());
  count("all_gather", one_way_bytes(bytes_of(output), size()));
  const Call call{.kind = Kind::kAllGather, .dtype = input.scalar_type(), .numel = input.numel()};
  return run([=, this] { transport_->all_gather(call, output.mutable_data_ptr(), input.const_data_ptr()); });
}

std::unique_ptr<Work> HostCommunicator::all_to_all_async(at::Tensor output, at::Tensor input,
                                                         std::vector<int64_t> output_splits,
                                                         std::vector<int64_t> input_splits) {
  check_tensor("all_to_all", output, at::kCPU);
  check_tensor("all_to_all", input, at::kCPU);
  TORCH_CHECK(input.scalar_type() == output.scalar_type(), "all_to_all: input and output have dtypes ",
              input.scalar_type(), " and ", output.scalar_type(), ", they must be equal");
  check_splits("output_splits", output, output_splits, size());
  check_splits("input_splits", input, input_splits, size());
  count("all_to_all", (input.numel() - input_splits[rank()]) * input.element_size());
  const Call call{.kind = Kind::kAllToAll, .dtype = input.scalar_type()};
  return run([=, this] {
    transport_->all_to_all(call, output.mutable_data_ptr(), input.const_data_ptr(), output_splits,
                           input_splits);
  });
}

std::unique_ptr<Work> HostCommunicator::broadcast_async(at::Tensor tensor, int root) {
  check_tensor("broadcast", tensor, at::kCPU);
  check_rank("broadcast", "root", root, size());
  count("broadcast", one_way_bytes(bytes_of(tensor), size()));
  const Call call{
      .kind = Kind::kBroadcast, .dtype = tensor.scalar_type(), .root = root, .numel = tensor.numel()};
  return run([=, this] { transport_->broadcast(call, tensor.mutable_data_ptr()); });
}

std::unique_ptr<Work> HostCommunicator::send_async(at::Tensor tensor, int to, int tag) {
  check_tensor("send", tensor, at::kCPU);
  check_rank("send", "destination", to, size());
  count("send", to == rank() ? 0 : bytes_of(tensor));
  return transport_->send(std::move(tensor), to, tag);
}

std::unique_ptr<Work> HostCommunicator::recv_async(at::Tensor tensor, int from, int tag) {
  check_tensor("recv", tensor, at::kCPU);
  check_rank("recv", "source", from, size());
  count("recv", 0);
  return transport_->recv(std::move(tensor), from, tag);
}

void HostCommunicator::barrier() {
  count("barrier", 0);
  run([this] { transport_->barrier(); })->wait();
}

std::unique_ptr<Communicator> HostCommunicator::split(int color, int key) {
  std::unique_ptr<HostTransport> part;
  run([&] { part = transport_->split(color, key); })->wait();
  return std::make_unique<HostCommunicator>(std::move(part));
}

void HostCommunicator::abort(const std::string& error, core::ExitCode code) {
  transport_->fail({.rank = transport_->world_rank(), .code = code, .message = error});
}

}  // namespace phalanx::comm
