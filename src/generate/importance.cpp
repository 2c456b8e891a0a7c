#include "generate/importance.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "formats/gguf.h"
#include "formats/gguf_tensor.h"
#include "formats/tensor_spec.h"
#include "model/gguf_architecture.h"
#include "model/linear.h"

namespace phalanx::generate {
namespace {

using core::ExitCode;
using core::fail;
using core::printable;

struct Sum {
  std::shared_ptr<model::Linear> linear;
  model::Linear::Product installed;  // before this one
  at::Tensor squares;                // [in] fp64
  int64_t num_rows = 0;              // experts see different numbers
};

/// Adds up the squares of what every Linear is given, as long as it lives.
class InputSquares {
 public:
  explicit InputSquares(const model::CausalLm& model) {
    for (const auto& [name, module] : model.named_modules()) {
      auto linear = std::dynamic_pointer_cast<model::Linear>(module);
      if (!linear) continue;
      Sum& sum = sums_[name + ".weight"];
      sum.installed = linear->product();
      sum.squares = at::zeros({linear->weight.size(1)}, at::kDouble);
      linear->set_product([&sum](const model::Linear& self, const at::Tensor& x) {
        sum.squares += x.to(at::kDouble).square().sum(0);
        sum.num_rows += x.size(0);
        return sum.installed ? sum.installed(self, x) : self.base(x);
      });
      sum.linear = std::move(linear);
    }
  }
  ~InputSquares() {
    for (auto& [name, sum] : sums_) sum.linear->set_product(sum.installed);
  }
  InputSquares(const InputSquares&) = delete;
  InputSquares& operator=(const InputSquares&) = delete;

  model::Importance means() const {
    model::Importance importance;
    for (const auto& [name, sum] : sums_) {
      if (sum.num_rows == 0) continue;  // the output matrix, or an expert that no token was sent to
      const at::Tensor mean = (sum.squares / double(sum.num_rows)).to(at::kFloat).contiguous();
      const float* values = mean.const_data_ptr<float>();
      importance.emplace(name, std::vector<float>(values, values + mean.numel()));
    }
    return importance;
  }

 private:
  std::map<std::string, Sum> sums_;  // nodes stay where they are
};

std::vector<float> floats(const formats::GgufFile& file, const formats::TensorInfo& tensor) {
  if (tensor.dtype != core::DType::kF32)
    fail(ExitCode::kBadInput, "{}: tensor {} is {}, but an importance matrix is F32",
         file.metadata().path().string(), printable(tensor.name), core::name(tensor.dtype));
  std::vector<float> values(formats::count_elements(tensor.shape).value());
  formats::to_float(tensor.dtype, file.bytes(tensor).data(), int64_t(values.size()), values.data());
  file.check_unchanged();
  return values;
}

/// Divides the sums of one tensor of the file by its counts, for each matrix that it holds: all have the same
/// input, but experts, whose sums stand below each other.
void add_means(const std::filesystem::path& path, const formats::GgufTensor& tensor,
               const std::vector<float>& sums, const std::vector<float>& counts,
               model::Importance& importance) {
  const auto columns = static_cast<size_t>(tensor.shape().back());
  const size_t rows = tensor.is_stack ? tensor.parts.size() : 1;
  if (sums.size() != rows * columns)
    fail(ExitCode::kBadInput, "{}: is not of this model: {}.in_sum2 has {} values, but the matrix {} columns",
         path.string(), printable(tensor.name), sums.size(), columns);
  if (counts.size() != rows)
    fail(ExitCode::kBadInput, "{}: {}.counts has {} numbers, not {}", path.string(), printable(tensor.name),
         counts.size(), rows);
  for (size_t part = 0; part < tensor.parts.size(); ++part) {
    const size_t row = tensor.is_stack ? part : 0;
    if (tensor.is_stack && counts[row] == 0) continue;  // an expert that no token was sent to
    if (!(counts[row] > 0))
      fail(ExitCode::kBadInput, "{}: {}.counts must be one number above 0", path.string(),
           printable(tensor.name));
    std::vector<float> means(sums.begin() + row * columns, sums.begin() + (row + 1) * columns);
    for (float& value : means) {
      value /= counts[row];
      if (!(value >= 0) || !std::isfinite(value))
        fail(ExitCode::kBadInput, "{}: {}.in_sum2 holds values that are no sums of squares", path.string(),
             printable(tensor.name));
    }
    importance.emplace(tensor.parts[part].name, std::move(means));
  }
}

}  // namespace

model::Importance gather_importance(model::CausalLm& model, const std::vector<int32_t>& ids,
                                    int64_t sequence_length) {
  if (ids.empty()) fail(ExitCode::kBadInput, "the calibration text has no tokens");
  const at::NoGradGuard no_grad;
  const int64_t length = std::min(sequence_length, model.config().max_position_embeddings);
  const auto count = static_cast<int64_t>(ids.size());
  const InputSquares squares(model);
  for (int64_t first = 0; first < count; first += length) {
    const int64_t last = std::min(first + length, count);
    const std::vector<int64_t> piece(ids.begin() + first, ids.begin() + last);
    model.hidden({.input_ids = at::tensor(piece, at::kLong),
                  .position_ids = at::arange(last - first, at::kLong),
                  .cu_seqlens = {0, static_cast<int32_t>(last - first)}});
  }
  return squares.means();
}

model::Importance read_importance(const std::filesystem::path& path, const model::CausalLm& model) {
  constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
  const formats::GgufFile file(path);
  if (file.metadata().find_text("general.type").value_or("") != "imatrix")
    fail(ExitCode::kBadInput, "{}: is a GGUF file, but no importance matrix (general.type is not imatrix)",
         path.string());
  std::map<std::string, formats::GgufTensor> layout;
  for (formats::GgufTensor& tensor : model::gguf_layout(model.config())) {
    std::string name = tensor.name;
    layout.emplace(std::move(name), std::move(tensor));
  }
  model::Importance importance;
  for (const formats::TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const auto of_model = layout.find(name);
    if (of_model == layout.end())
      fail(ExitCode::kBadInput, "{}: is not of this model, which has no {}", path.string(), printable(name));
    const formats::TensorInfo* counts = file.find(name + std::string(kCounts));
    add_means(path, of_model->second, floats(file, tensor),
              counts ? floats(file, *counts) : std::vector<float>{}, importance);
  }
  if (importance.empty())
    fail(ExitCode::kBadInput, "{}: holds no tensor that ends in {}", path.string(), kSums);
  return importance;
}

}  // namespace phalanx::generate
