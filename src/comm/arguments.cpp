#include "comm/arguments.h"

#include <c10/util/Exception.h>

#include <numeric>

namespace phalanx::comm {

void check_tensor(const char* collective, const at::Tensor& tensor, at::DeviceType device) {
  TORCH_CHECK(tensor.defined(), collective, ": the tensor is undefined");
  TORCH_CHECK(tensor.is_contiguous(), collective, ": the tensor of shape ", tensor.sizes(),
              " is not contiguous");
  TORCH_CHECK(tensor.device().type() == device, collective, ": the tensor is on ", tensor.device(),
              ", this backend needs ", device);
  switch (tensor.scalar_type()) {
    case at::kDouble:
    case at::kFloat:
    case at::kBFloat16:
    case at::kHalf:
    case at::kLong:
    case at::kInt:
    case at::kByte:
      return;
    default:
      TORCH_CHECK(false, collective, ": dtype ", tensor.scalar_type(),
                  " is not supported; use float64, float32, bfloat16, float16, int64, int32 or uint8");
  }
}

void check_rank(const char* collective, const char* what, int rank, int size) {
  TORCH_CHECK(rank >= 0 && rank < size, collective, ": ", what, " ", rank, " is not a rank of this group of ",
              size);
}

void check_parts(const char* collective, const at::Tensor& whole, const at::Tensor& part, int size) {
  TORCH_CHECK(whole.scalar_type() == part.scalar_type(), collective, ": input and output have dtypes ",
              whole.scalar_type(), " and ", part.scalar_type(), ", they must be equal");
  TORCH_CHECK(whole.numel() == part.numel() * size, collective, ": the larger tensor has ", whole.numel(),
              " elements, it needs ", size, " (ranks) x ", part.numel());
}

void check_splits(const char* what, const at::Tensor& tensor, const std::vector<int64_t>& splits, int size) {
  TORCH_CHECK(static_cast<int>(splits.size()) == size, "all_to_all: ", what, " has ", splits.size(),
              " entries, the group has ", size, " ranks");
  for (const int64_t split : splits)
    TORCH_CHECK(split >= 0, "all_to_all: ", what, " has a negative entry ", split);
  const int64_t sum = std::accumulate(splits.begin(), splits.end(), int64_t{0});
  TORCH_CHECK(sum == tensor.numel(), "all_to_all: ", what, " adds up to ", sum, ", the tensor has ",
              tensor.numel(), " elements");
}

void check_split(int from, int to, int64_t sent, int64_t expected) {
  TORCH_CHECK(sent == expected, "all_to_all: rank ", from, " of the group sends ", sent, " elements to rank ",
              to, ", which expects ", expected);
}

}  // namespace phalanx::comm
