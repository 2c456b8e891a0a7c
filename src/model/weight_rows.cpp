#include "model/weight_rows.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/error.h"
#include "model/stored_weights.h"

namespace phalanx::model {
namespace {
constexpr int64_t kPieceValues = 1 << 22;  // 16 MiB of fp32: enough for several threads to round
}

WeightRows rows_of(std::shared_ptr<const formats::TensorFile> file, const std::string& where) {
  return [file = std::move(file), where, last = std::make_shared<std::string>()](const std::string& name,
                                                                                 int64_t begin, int64_t end) {
    if (*last != name) file->release_pages();
    *last = name;
    const formats::TensorInfo* info = file->find(name);
    if (!info) core::fail(core::ExitCode::kBug, "{}: has no {}", where, core::printable(name));
    std::vector<int64_t> sizes = info->shape, offset(info->shape.size(), 0);
    sizes[0] = end - begin;
    offset[0] = begin;
    const at::Tensor rows = at::empty(sizes, at::kFloat);
    read_weights({{name, rows}}, {{name, {info->shape, offset}}}, *file, at::kFloat, where);
    return rows;
  };
}

WeightRows rows_of(WeightSource weights) {
  struct Kept {
    std::string name;
    at::Tensor weight;
  };
  return [weights = std::move(weights), kept = std::make_shared<Kept>()](const std::string& name,
                                                                         int64_t begin, int64_t end) {
    if (kept->name != name || !kept->weight.defined()) {
      kept->weight.reset();  // before the next one is made
      kept->weight = weights(name).detach().to(at::kCPU).to(at::kFloat).contiguous();
      kept->name = name;
    }
    return kept->weight.narrow(0, begin, end - begin).clone();
  };
}

void for_each_piece(int64_t rows, int64_t columns,
                    const std::function<void(int64_t begin, int64_t end)>& body) {
  const int64_t step = std::max<int64_t>(1, kPieceValues / std::max<int64_t>(1, columns));
  for (int64_t begin = 0; begin < rows; begin += step) body(begin, std::min(begin + step, rows));
}

}  // namespace phalanx::model
