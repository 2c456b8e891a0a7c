#pragma once
#include <cstdint>

/// Row and element kernels on plain memory, compiled once per instruction set (elementwise.inc) and picked at
/// run time. `T` is float or uint16_t (the bits of bf16); arithmetic is fp32. Contiguous rows.
/// Single-threaded: callers split.
namespace phalanx::ops::cpu {

struct AdamWConstants {
  float keep;       ///< 1 - lr * weight_decay
  float step_size;  ///< lr / (1 - b1^t)
  float beta1, beta2, eps;
  float inverse_root2;  ///< 1 / sqrt(1 - b2^t)
  float grad_scale;
};

template <class T>
struct RowKernels {
  /// h = x + residual (kept in `sum`; both null for a plain norm), y = h r w, r = 1 / sqrt(mean(h^2) + eps)
  void (*rms_norm)(const T* x, const T* residual, const T* weight, float eps, T* y, T* sum, float* r,
                   int64_t rows, int64_t n);
  /// dx = r (w dy - h r^2 mean(w dy h)) + extra (null: 0); dw [n] += sum over rows of dy h r (null: not
  /// wanted)
  void (*rms_norm_backward)(const T* dy, const T* h, const T* weight, const float* r, const T* extra, T* dx,
                            float* dw, int64_t rows, int64_t n);
  /// y = x turned by the angles of each token; direction 1 or -1
  void (*rope)(const T* x, const float* cos, const float* sin, float direction, T* y, int64_t tokens,
               int64_t heads, int64_t d);
  void (*swiglu)(const T* gate, const T* up, T* y, int64_t count);
  void (*swiglu_backward)(const T* gate, const T* up, const T* dy, T* dgate, T* dup, int64_t count);
  /// Loss of one row of logits; if `gradient`, the row becomes scale * (softmax - onehot(label)) in the dtype
  /// T, written from the start of the same memory.
  float (*cross_entropy_f32)(float* logits, int64_t n, int64_t label, float scale, bool gradient);
  float (*cross_entropy_same)(T* logits, int64_t n, int64_t label, float scale, bool gradient);
  /// y [rows, out_stride] columns [begin, end) = x [rows, k] W[., k]^T, rows <= 8; `x` already fp32
  void (*few_rows)(const float* x, const T* weight, T* y, int64_t rows, int64_t k, int64_t begin, int64_t end,
                   int64_t y_stride);
};

/// Running maximum and sum of exponentials of one row of scores, block by block (Milakov & Gimelshein 2018).
struct SoftmaxState {
  float maximum, sum;
};

struct Kernels {
  RowKernels<float> f32;
  RowKernels<uint16_t> bf16;
  /// s [width] becomes exp(s - maximum so far) in [0, visible) and 0 beyond; returns the factor by which what
  /// was made with the former maximum shrinks.
  float (*softmax_block)(float* s, int64_t visible, int64_t width, SoftmaxState& state);
  /// s becomes the probabilities p = exp(s - lse), dp becomes p (dp - delta) scale; both 0 from `visible` on
  void (*softmax_block_backward)(float* s, float* dp, int64_t visible, int64_t width, float lse, float delta,
                                 float scale);
  void (*scale_row)(float* x, int64_t n, float factor);
  /// -sum p log p of softmax(logits), given log sum exp(logits)
  float (*entropy)(const float* logits, int64_t n, float log_sum);
  void (*adamw)(float* p, const float* g, float* m, float* v, int64_t count, const AdamWConstants& c);
  /// As adamw on weights in two halves (ops/split_weights.h).
  void (*adamw_split)(uint16_t* upper, uint16_t* lower, const float* g, float* m, float* v, int64_t count,
                      const AdamWConstants& c);
  double (*sum_of_squares_f32)(const float* x, int64_t count);
  double (*sum_of_squares_bf16)(const uint16_t* x, int64_t count);
};

/// The best set for this machine.
const Kernels& kernels();

template <class T>
const RowKernels<T>& row_kernels();
template <>
inline const RowKernels<float>& row_kernels<float>() {
  return kernels().f32;
}
template <>
inline const RowKernels<uint16_t>& row_kernels<uint16_t>() {
  return kernels().bf16;
}

// One table per translation unit.
extern const Kernels kGenericKernels, kAvx2Kernels, kAvx512Kernels;

}  // namespace phalanx::ops::cpu
