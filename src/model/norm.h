#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <utility>

#include "model/module.h"

namespace phalanx::model {

/// What stands before (or behind) a part of a layer: x [N, h] -> [N, h]. Joins the residual addition before
/// it.
class Norm : public Module {
 public:
  at::Tensor forward(const at::Tensor& x) const {
    const at::Tensor y = normalise(x);
    return entry_ ? entry_(y) : y;
  }
  /// {norm(x + residual), x + residual}
  std::pair<at::Tensor, at::Tensor> forward(const at::Tensor& x, const at::Tensor& residual) const {
    auto result = add_and_normalise(x, residual);
    if (entry_) result.first = entry_(result.first);
    return result;
  }

  /// What happens to the normalised rows before they are read: nothing, unless a parallel scheme installs
  /// something.
  void set_entry(std::function<at::Tensor(const at::Tensor&)> entry) { entry_ = std::move(entry); }

 protected:
  virtual at::Tensor normalise(const at::Tensor& x) const = 0;
  virtual std::pair<at::Tensor, at::Tensor> add_and_normalise(const at::Tensor& x,
                                                              const at::Tensor& residual) const;

 private:
  std::function<at::Tensor(const at::Tensor&)> entry_;
};

/// Root-mean-square norm with the learned factor `weight + offset` (ops::rms_norm).
class RmsNorm : public Norm {
 public:
  RmsNorm(int64_t hidden_size, double eps, double offset = 0);

  at::Tensor weight;  // [hidden_size]

 protected:
  at::Tensor normalise(const at::Tensor& x) const override;
  std::pair<at::Tensor, at::Tensor> add_and_normalise(const at::Tensor& x,
                                                      const at::Tensor& residual) const override;

 private:
  double eps_, offset_;
};

/// ops::layer_norm
class LayerNorm : public Norm {
 public:
  LayerNorm(int64_t hidden_size, double eps);

 protected:
  at::Tensor normalise(const at::Tensor& x) const override;

 private:
  at::Tensor weight_, bias_;  // [hidden_size]
  double eps_;
};

/// The rows as they are: where a layer has no norm, but a parallel scheme must find its entry.
class NoNorm : public Norm {
 protected:
  at::Tensor normalise(const at::Tensor& x) const override { return x; }
};

/// kRmsAroundOne: the stored weight is what the factor differs from 1 by.
enum class NormKind { kRms, kRmsAroundOne, kLayer };
std::shared_ptr<Norm> make_norm(NormKind kind, int64_t hidden_size, double eps);

}  // namespace phalanx::model
