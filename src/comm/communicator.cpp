#include "comm/communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>

#include "comm/in_process_group.h"

namespace phalanx::comm {
namespace {

at::Tensor bytes_of(const std::string& text, int64_t padded_to) {
  at::Tensor bytes = at::zeros({padded_to}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  return bytes;
}

}  // namespace

int64_t Traffic::total_bytes() const {
  int64_t sum = 0;
  for (const auto& [name, counted] : by_collective) sum += counted.bytes;
  return sum;
}

void Communicator::count(const std::string& collective, int64_t bytes) {
  Traffic::Count& counted = traffic_.by_collective[collective];
  ++counted.calls;
  counted.bytes += bytes;
}

double Communicator::all_reduce_scalar(double value, ReduceOp op) {
  const at::Tensor tensor = at::full({1}, value, at::TensorOptions(at::kDouble).device(device()));
  all_reduce(tensor, op);
  return tensor.item<double>();
}

int64_t Communicator::all_reduce_scalar(int64_t value, ReduceOp op) {
  const at::Tensor tensor = at::full({1}, value, at::TensorOptions(at::kLong).device(device()));
  all_reduce(tensor, op);
  return tensor.item<int64_t>();
}

std::string Communicator::broadcast_string(const std::string& text, int root) {
  const at::Tensor length =
      at::full({1}, static_cast<int64_t>(text.size()), at::TensorOptions(at::kLong).device(device()));
  broadcast(length, root);
  const int64_t size_bytes = length.item<int64_t>();
  at::Tensor bytes = rank() == root ? bytes_of(text, size_bytes) : at::empty({size_bytes}, at::kByte);
  bytes = bytes.to(device());
  broadcast(bytes, root);
  bytes = bytes.cpu();
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(size_bytes)};
}

std::vector<std::string> Communicator::all_gather_strings(const std::string& text) {
  at::Tensor lengths = at::empty({size()}, at::TensorOptions(at::kLong).device(device()));
  all_gather(lengths, at::full({1}, static_cast<int64_t>(text.size()), lengths.options()));
  lengths = lengths.cpu();
  const int64_t longest = lengths.max().item<int64_t>();
  at::Tensor all = at::empty({size(), longest}, at::TensorOptions(at::kByte).device(device()));
  all_gather(all, bytes_of(text, longest).to(device()));
  all = all.cpu();

  std::vector<std::string> texts;
  for (int r = 0; r < size(); ++r) {
    const auto* start = static_cast<const char*>(all.const_data_ptr()) + r * longest;
    texts.emplace_back(start, static_cast<size_t>(lengths[r].item<int64_t>()));
  }
  return texts;
}

std::unique_ptr<Communicator> make_single_communicator() {
  return std::move(make_in_process_ranks(1).communicators.front());
}

}  // namespace phalanx::comm
