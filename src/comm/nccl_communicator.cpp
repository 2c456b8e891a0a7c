#include "comm/nccl_communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isnan.h>
#include <c10/cuda/CUDAGuard.h>

#include <limits>

#include "comm/arguments.h"
#include "comm/call.h"
#include "comm/nccl_group.h"
#include "comm/traffic.h"

namespace phalanx::comm {
namespace {

ncclDataType_t nccl_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return ncclFloat64;
    case at::kFloat:
      return ncclFloat32;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kHalf:
      return ncclFloat16;
    case at::kLong:
      return ncclInt64;
    case at::kInt:
      return ncclInt32;
    case at::kByte:
      return ncclUint8;
    default:
      TORCH_INTERNAL_ASSERT(false, "check_tensor lets no ", dtype, " through");
  }
}

ncclRedOp_t nccl_op(ReduceOp op) {
  return op == ReduceOp::kSum ? ncclSum : op == ReduceOp::kMax ? ncclMax : ncclMin;
}

bool can_lose_nan(const at::Tensor& tensor, ReduceOp op) {
  return op != ReduceOp::kSum && at::isFloatingType(tensor.scalar_type());
}

void restore_nan(const at::Tensor& tensor, const at::Tensor& mask) {
  tensor.masked_fill_(mask.to(at::kBool), std::numeric_limits<double>::quiet_NaN());
}

int64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

class FinishedWork : public Work {
 public:
  void wait() override {}
};

/// A message that comes into host memory and goes to the device when it is waited for.
class StagedReceive : public Work {
 public:
  StagedReceive(std::unique_ptr<Work> receiving, at::Tensor staging, at::Tensor tensor)
      : receiving_(std::move(receiving)), staging_(std::move(staging)), tensor_(std::move(tensor)) {}
  void wait() override {
    receiving_->wait();
    if (staging_.defined()) tensor_.copy_(staging_);
    staging_.reset();
  }

 private:
  std::unique_ptr<Work> receiving_;
  at::Tensor staging_, tensor_;
};

class NcclCommunicator : public Communicator {
 public:
  explicit NcclCommunicator(std::shared_ptr<NcclGroup> group) : group_(std::move(group)) {}

  int rank() const override { return group_->host().rank(); }
  int size() const override { return group_->host().size(); }
  std::string backend() const override { return "nccl"; }
  at::Device device() const override { return group_->device(); }

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
  void abort(const std::string& error, core::ExitCode code) override { group_->host().abort(error, code); }
  void check() override { group_->host().check(); }

 private:
  void check_here(const char* collective, const at::Tensor& tensor) const;
  std::unique_ptr<Work> launch(const Call& call, std::vector<at::Tensor> tensors,
                               const NcclGroup::Enqueue& enqueue,
                               const std::function<void()>& afterwards = {});

  std::shared_ptr<NcclGroup> group_;
};

void NcclCommunicator::check_here(const char* collective, const at::Tensor& tensor) const {
  check_tensor(collective, tensor, at::kCUDA);
  TORCH_CHECK(tensor.device() == device(), collective, ": the tensor is on ", tensor.device(),
              ", this rank uses ", device());
}

std::unique_ptr<Work> NcclCommunicator::launch(const Call& call, std::vector<at::Tensor> tensors,
                                               const NcclGroup::Enqueue& enqueue,
                                               const std::function<void()>& afterwards) {
  return group_->launch(describe(call), std::move(tensors), enqueue, afterwards);
}

std::unique_ptr<Work> NcclCommunicator::all_reduce_async(at::Tensor tensor, ReduceOp op) {
  check_here("all_reduce", tensor);
  count("all_reduce", all_reduce_bytes(bytes_of(tensor), size()));
  if (tensor.numel() == 0) return std::make_unique<FinishedWork>();
  const Call call{.kind = Kind::kAllReduce, .dtype = tensor.scalar_type(), .op = op, .numel = tensor.numel()};
  const at::Tensor nan = can_lose_nan(tensor, op) ? at::isnan(tensor).to(at::kByte) : at::Tensor();
  const auto enqueue = [&](ncclComm_t comm, cudaStream_t stream) {
    ncclGroupStart();
    ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.numel(),
                  nccl_type(tensor.scalar_type()), nccl_op(op), comm, stream);
    if (nan.defined()) {
      ncclAllReduce(nan.const_data_ptr(), nan.mutable_data_ptr(), nan.numel(), ncclUint8, ncclMax, comm,
                    stream);
    }
    return ncclGroupEnd();  // it also returns what a call inside the group returned
  };
  if (!nan.defined()) return launch(call, {tensor}, enqueue);
  return launch(call, {tensor, nan}, enqueue, [&] { restore_nan(tensor, nan); });
}

std::unique_ptr<Work> NcclCommunicator::reduce_scatter_async(at::Tensor output, at::Tensor input,
                                                             ReduceOp op) {
  check_here("reduce_scatter", output);
  check_here("reduce_scatter", input);
  check_parts("reduce_scatter", input, output, size());
  count("reduce_scatter", one_way_bytes(bytes_of(input), size()));
  if (output.numel() == 0) return std::make_unique<FinishedWork>();
  const Call call{
      .kind = Kind::kReduceScatter, .dtype = output.scalar_type(), .op = op, .numel = output.numel()};
  const bool masked = can_lose_nan(input, op);
  const at::Tensor nan = masked ? at::isnan(input).to(at::kByte) : at::Tensor();
  const at::Tensor nan_here = masked ? at::empty_like(output, at::kByte) : at::Tensor();
  const auto enqueue = [&](ncclComm_t comm, cudaStream_t stream) {
    ncclGroupStart();
    ncclReduceScatter(input.const_data_ptr(), output.mutable_data_ptr(), output.numel(),
                      nccl_type(output.scalar_type()), nccl_op(op), comm, stream);
    if (masked) {
      ncclReduceScatter(nan.const_data_ptr(), nan_here.mutable_data_ptr(), output.numel(), ncclUint8, ncclMax,
                        comm, stream);
    }
    return ncclGroupEnd();
  };
  if (!masked) return launch(call, {output, input}, enqueue);
  return launch(call, {output, input, nan, nan_here}, enqueue, [&] { restore_nan(output, nan_here); });
}

std::unique_ptr<Work> NcclCommunicator::all_gather_async(at::Tensor output, at::Tensor input) {
  check_here("all_gather", output);
  check_here("all_gather", input);
  check_parts("all_gather", output, input, size());
  count("all_gather", one_way_bytes(bytes_of(output), size()));
  if (input.numel() == 0) return std::make_unique<FinishedWork>();
  const Call call{.kind = Kind::kAllGather, .dtype = input.scalar_type(), .numel = input.numel()};
  return launch(call, {output, input}, [&](ncclComm_t comm, cudaStream_t stream) {
    return ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), input.numel(),
                         nccl_type(input.scalar_type()), comm, stream);
  });
}

std::unique_ptr<Work> NcclCommunicator::all_to_all_async(at::Tensor output, at::Tensor input,
                                                         std::vector<int64_t> output_splits,
                                                         std::vector<int64_t> input_splits) {
  check_here("all_to_all", output);
  check_here("all_to_all", input);
  TORCH_CHECK(input.scalar_type() == output.scalar_type(), "all_to_all: input and output have dtypes ",
              input.scalar_type(), " and ", output.scalar_type(), ", they must be equal");
  check_splits("output_splits", output, output_splits, size());
  check_splits("input_splits", input, input_splits, size());
  const int64_t width = input.element_size();
  count("all_to_all", (input.numel() - input_splits[rank()]) * width);
  const Call call{.kind = Kind::kAllToAll, .dtype = input.scalar_type()};
  return launch(call, {output, input}, [&](ncclComm_t comm, cudaStream_t stream) {
    const ncclDataType_t type = nccl_type(input.scalar_type());
    const auto* from = static_cast<const char*>(input.const_data_ptr());
    auto* to = static_cast<char*>(output.mutable_data_ptr());
    ncclGroupStart();
    for (int peer = 0; peer < size(); ++peer) {
      // Both ends leave out an empty part.
      if (input_splits[peer] > 0) ncclSend(from, input_splits[peer], type, peer, comm, stream);
      if (output_splits[peer] > 0) ncclRecv(to, output_splits[peer], type, peer, comm, stream);
      from += input_splits[peer] * width;
      to += output_splits[peer] * width;
    }
    return ncclGroupEnd();
  });
}

std::unique_ptr<Work> NcclCommunicator::broadcast_async(at::Tensor tensor, int root) {
  check_here("broadcast", tensor);
  check_rank("broadcast", "root", root, size());
  count("broadcast", one_way_bytes(bytes_of(tensor), size()));
  if (tensor.numel() == 0) return std::make_unique<FinishedWork>();
  const Call call{
      .kind = Kind::kBroadcast, .dtype = tensor.scalar_type(), .root = root, .numel = tensor.numel()};
  return launch(call, {tensor}, [&](ncclComm_t comm, cudaStream_t stream) {
    return ncclBroadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.numel(),
                         nccl_type(tensor.scalar_type()), root, comm, stream);
  });
}

std::unique_ptr<Work> NcclCommunicator::send_async(at::Tensor tensor, int to, int tag) {
  check_here("send", tensor);
  check_rank("send", "destination", to, size());
  count("send", to == rank() ? 0 : bytes_of(tensor));
  return group_->host().send_async(tensor.cpu(), to, tag);
}

std::unique_ptr<Work> NcclCommunicator::recv_async(at::Tensor tensor, int from, int tag) {
  check_here("recv", tensor);
  check_rank("recv", "source", from, size());
  count("recv", 0);
  at::Tensor staging = at::empty(tensor.sizes(), tensor.options().device(at::kCPU));
  std::unique_ptr<Work> receiving = group_->host().recv_async(staging, from, tag);
  return std::make_unique<StagedReceive>(std::move(receiving), std::move(staging), std::move(tensor));
}

void NcclCommunicator::barrier() {
  count("barrier", 0);
  group_->drain();  // the collectives before it are over, as on the host backends
  group_->host().barrier();
}

std::unique_ptr<Communicator> NcclCommunicator::split(int color, int key) {
  return make_nccl_communicator(group_->host().split(color, key), group_->options());
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     const NcclOptions& options) {
  return std::make_unique<NcclCommunicator>(std::make_shared<NcclGroup>(std::move(host), options));
}

}  // namespace phalanx::comm
