#include "generate/logits.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "model/few_rows.h"

namespace phalanx::generate {

at::Tensor fp32_logits(const at::Tensor& hidden, const at::Tensor& weight) {
  constexpr int64_t kRows = 16;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < hidden.size(0); row += kRows) {
    const at::Tensor rows = hidden.narrow(0, row, std::min(kRows, hidden.size(0) - row));
    if (model::few_rows_applies(rows, weight)) {
      parts.push_back(model::few_rows_linear(rows, weight, {}, at::kFloat));
    } else {
      parts.push_back(at::linear(rows, weight).to(at::kFloat));
    }
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

}  // namespace phalanx::generate
