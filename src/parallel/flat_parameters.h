#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace phalanx::parallel {

/// One trainable parameter inside the flat buffers.
struct ParameterSlot {
  std::string name;    // global name: Hugging Face's tensor name, or the adapter's
  at::Tensor param;    // the module's parameter, now a view into FlatParameters::compute()
  int64_t offset = 0;  // elements from the start of the buffers
  int64_t numel = 0;
  bool decay = true;  // weight decay applies: not to norms and biases (tensors with fewer than 2 dimensions)
};

/// All trainable parameters of a model in flat buffers of equal layout:
///
///     compute [n]  compute dtype; the module's parameters are views into it
///     grad    [n]  fp32 (fp64 for fp64); sums of the backward land here
///     master  [n]  dtype of grad: what the optimizer updates. With fp32 and fp64 it is `compute` itself.
///     With bf16
///                  it exists in two halves: `compute` is the upper one, `lower` [n] int16 the other one
///                  (ops/split_weights.h), so that a master weight costs 2 bytes more and not 4
///
/// Slots stand in reverse execution order, so that the backward fills the buffers front to back and a bucket
/// of gradients is a contiguous range. Slots begin at multiples of 64 bytes.
class FlatParameters {
 public:
  /// @param parameters  (name, parameter) in execution order; only these train. Given in the master dtype
  ///                    where the source has that precision, they are rounded to `compute_dtype` here and the
  ///                    master keeps all bits.
  FlatParameters(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                 at::ScalarType compute_dtype);

  const std::vector<ParameterSlot>& slots() const { return slots_; }
  const at::Tensor& compute() const { return compute_; }
  const at::Tensor& grad() const { return grad_; }
  const at::Tensor& lower() const { return lower_; }  ///< undefined where compute is the master

  /// The master weights [begin, end), or those of a slot in its shape: a view, or a copy where they are
  /// split.
  at::Tensor master(int64_t begin, int64_t end) const;
  at::Tensor master(const ParameterSlot& slot) const;
  at::ScalarType master_dtype() const { return grad_.scalar_type(); }
  /// Takes over what was made of master(): nothing to do for a view.
  void set_master(int64_t begin, const at::Tensor& values);

  /// The part of a flat buffer that belongs to `slot`, in the parameter's shape.
  static at::Tensor view(const at::Tensor& buffer, const ParameterSlot& slot);
  int64_t num_parameters() const;  ///< without alignment gaps

 private:
  std::vector<ParameterSlot> slots_;
  at::Tensor compute_, lower_, grad_;
};

}  // namespace phalanx::parallel
