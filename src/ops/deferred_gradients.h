#pragma once
#include <functional>
#include <vector>

namespace phalanx::ops {

/// For operations: true if `product` was taken, to be run later.
bool defer_gradient(std::function<void()> product);

/// The backward of linear layers in two halves (Qi et al. 2023, arXiv:2401.10241): while one of these lives,
/// backwards that run on this thread leave the products for weight gradients here, for run(). Only for
/// weights with a GradSink; the inputs of the products stay in memory until then.
class DeferredGradients {
 public:
  class Scope;
  /// Computes what was left, in the order in which it was left.
  void run();
  bool empty() const { return products_.empty(); }

 private:
  friend bool defer_gradient(std::function<void()> product);
  std::vector<std::function<void()>> products_;
};

/// Makes `target` the place for the products of this thread.
class DeferredGradients::Scope {
 public:
  explicit Scope(DeferredGradients& target);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  DeferredGradients* outer_;
};

}  // namespace phalanx::ops
