#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <c10/util/intrusive_ptr.h>

#include <atomic>
#include <cstdint>

namespace phalanx::ops {

/// Where an operation adds the gradient of one parameter, instead of handing autograd a tensor of the
/// parameter's dtype. A bf16 weight so gets an fp32 gradient without a bf16 rounding and without one pass
/// over memory.
///
/// Life of a step:
///   1. the trainer zeroes the buffers behind `main_grad()` and calls `reset()` (also after a forward that
///   was dropped);
///   2. every operation of this folder that uses the parameter and will be differentiated calls `expect()` in
///   its
///      forward: the tied embedding is counted twice, once by embedding() and once by linear_cross_entropy();
///   3. its backward adds into `main_grad()` and calls `done()`; the last expected one calls `ready()`.
/// With several forwards before one backward (pipeline) or several micro-batches, `ready()` comes whenever
/// all forwards so far have been differentiated; the reducer counts micro-batches itself, or enables
/// reduction only for the last one. A forward under NoGradMode (evaluation, the first pass of recomputation)
/// is not counted.
///
/// All calls of one sink come from one thread at a time (the one that runs forward and backward).
class GradSink : public c10::intrusive_ptr_target {
 public:
  /// Accumulator of the parameter's shape, contiguous, same device: fp32 (fp64 for an fp64 parameter). Must
  /// stay the same memory from the first forward of a step to the last backward.
  virtual at::Tensor main_grad() = 0;
  /// All expected contributions are in `main_grad()`. Called inside the backward pass: start the reduction
  /// here.
  virtual void ready() = 0;

  void expect() { ++pending_; }
  void done() {
    if (--pending_ == 0) ready();
  }
  void reset() { pending_ = 0; }
  int64_t pending() const { return pending_; }

 private:
  int64_t pending_ = 0;
};

/// Attaches `sink` to this very tensor (a leaf that requires grad); null detaches. Aliases made by detach(),
/// views and copies do not inherit it; Tensor::set_data() loses it, so attach afterwards.
void set_grad_sink(const at::Tensor& parameter, c10::intrusive_ptr<GradSink> sink);

/// The sink of this tensor or null.
GradSink* grad_sink(const at::Tensor& parameter);

/// For operations: calls expect() if a backward will follow (GradMode on, parameter requires grad, has a
/// sink).
void expect_gradient(const at::Tensor& parameter);

/// For operations: hands over a finished gradient. With a sink it is added to main_grad(), done() is called
/// and an undefined tensor comes back (return it from backward); without one the gradient comes back in the
/// parameter's dtype.
at::Tensor deliver_gradient(const at::Tensor& parameter, const at::Tensor& gradient);

}  // namespace phalanx::ops
