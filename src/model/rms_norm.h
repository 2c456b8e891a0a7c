#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <utility>

#include "model/module.h"

namespace phalanx::model {

/// Root-mean-square norm with a learned factor (ops::rms_norm); joins the residual addition before it into
/// one pass.
class RmsNorm : public Module {
 public:
  RmsNorm(int64_t hidden_size, double eps);

  at::Tensor forward(const at::Tensor& x) const;
  /// {norm(x + residual), x + residual}
  std::pair<at::Tensor, at::Tensor> forward(const at::Tensor& x, const at::Tensor& residual) const;

  /// What happens to the normalised rows before they are read: nothing, unless a parallel scheme installs
  /// something.
  void set_entry(std::function<at::Tensor(const at::Tensor&)> entry) { entry_ = std::move(entry); }

  at::Tensor weight;  // [hidden_size]

 private:
  double eps_;
  std::function<at::Tensor(const at::Tensor&)> entry_;
};

}  // namespace phalanx::model
