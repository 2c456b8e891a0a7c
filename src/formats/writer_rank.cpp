#include "formats/writer_rank.h"

#include <algorithm>

namespace phalanx::formats {

WriterShare::WriterShare(const std::vector<TensorSpec>& tensors, const WriterRank& rank)
    : is_all_(rank.size == 1) {
  const auto bytes_of = [](const TensorSpec& tensor) {
    return static_cast<double>(count_bytes(tensor.dtype, tensor.shape).value_or(0));
  };
  double total = 0, begin = 0;
  for (const TensorSpec& tensor : tensors) total += bytes_of(tensor);
  for (const TensorSpec& tensor : tensors) {
    const double middle = begin + bytes_of(tensor) / 2;
    const int owner = total > 0 ? std::min(rank.size - 1, static_cast<int>(middle / total * rank.size)) : 0;
    if (owner == rank.rank) names_.insert(tensor.name);
    begin += bytes_of(tensor);
  }
}

}  // namespace phalanx::formats
