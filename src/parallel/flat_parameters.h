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
///     master  [n]  fp32 (fp64 for fp64); the same storage as compute where the dtypes agree
///     grad    [n]  as master; sums of the backward land here
///
/// Slots stand in reverse execution order, so that the backward fills the buffers front to back and a bucket
/// of gradients is a contiguous range. Slots begin at multiples of 64 bytes.
class FlatParameters {
 public:
  /// @param parameters  (name, parameter) in execution order; only these train. Given in the master dtype
  /// where the
  ///                    source has that precision, they are rounded to `compute_dtype` here and the master
  ///                    keeps all bits.
  FlatParameters(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                 at::ScalarType compute_dtype);

  const std::vector<ParameterSlot>& slots() const { return slots_; }
  const at::Tensor& compute() const { return compute_; }
  const at::Tensor& master() const { return master_; }
  const at::Tensor& grad() const { return grad_; }
  bool has_separate_master() const { return !master_.is_alias_of(compute_); }

  /// The part of a flat buffer that belongs to `slot`, in the parameter's shape.
  static at::Tensor view(const at::Tensor& buffer, const ParameterSlot& slot);
  int64_t num_parameters() const;  ///< without alignment gaps

  void copy_master_to_compute();  ///< after master weights were loaded

 private:
  std::vector<ParameterSlot> slots_;
  at::Tensor compute_, master_, grad_;
};

}  // namespace phalanx::parallel
