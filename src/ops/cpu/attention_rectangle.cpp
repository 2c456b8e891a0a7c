#include "ops/cpu/attention_rectangle.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/cpu/gemm.h"
#include "ops/cpu/jobs.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/workspace.h"

namespace phalanx::ops::cpu {
namespace {

// A chunk of scores in fp32 takes 512 KiB; more rows make less of the packing, more bytes leave the L2 cache.
constexpr int64_t kQueries = 256, kKeys = 512;

Element element_of(const at::Tensor& t) {
  return t.scalar_type() == at::kBFloat16 && can_multiply(Element::kBF16) ? Element::kBF16 : Element::kF32;
}

at::Tensor as_element(const at::Tensor& t, Element element) {
  return element == Element::kBF16 ? t : t.to(at::kFloat);
}

/// One head of a tensor [rows, heads, d] as a matrix with a row per token.
struct Head {
  char* data;
  int64_t stride, element_bytes;
  Head(const at::Tensor& t, int64_t head)
      : data(static_cast<char*>(t.data_ptr()) + head * t.stride(1) * t.element_size()),
        stride(t.stride(0)),
        element_bytes(t.element_size()) {}
  char* row(int64_t i) const { return data + i * stride * element_bytes; }
  float* floats(int64_t i) const { return reinterpret_cast<float*>(row(i)); }
  Operand rows(int64_t first) const { return {row(first), stride, true}; }      // the sum runs along d
  Operand columns(int64_t first) const { return {row(first), stride, false}; }  // the sum runs along tokens
};

/// Scores or their gradients, [queries, keys] of one chunk: computed in fp32, multiplied in the dtype of the
/// inputs.
struct Scores {
  float* values;
  uint16_t* rounded;
  Element element;

  float* row(int64_t i) const { return values + i * kKeys; }
  /// After the last change of the values of `queries` x `keys`.
  void round(int64_t queries, int64_t keys) const {
    if (element == Element::kF32) return;
    const auto view = [&](void* data, at::ScalarType type) {
      return at::from_blob(data, {queries, keys}, {kKeys, 1}, at::TensorOptions(type));
    };
    view(rounded, at::kBFloat16).copy_(view(values, at::kFloat));
  }
  Operand operand(bool keys_contiguous) const {
    const void* data = element == Element::kF32 ? static_cast<const void*>(values) : rounded;
    return {data, kKeys, keys_contiguous};
  }
};

struct Work {
  Scores p, ds;
  float* out;  // [kQueries, d]
};

Work take_work(Element element, int64_t dim) {
  constexpr int64_t kCount = kQueries * kKeys;
  auto* at = static_cast<char*>(scratch(Scratch::kAttention, 2 * kCount * (4 + 2) + kQueries * dim * 4));
  auto* values = reinterpret_cast<float*>(at);
  auto* rounded = reinterpret_cast<uint16_t*>(at + 2 * kCount * 4);
  return {{values, rounded, element},
          {values + kCount, rounded + kCount, element},
          reinterpret_cast<float*>(at + 2 * kCount * (4 + 2))};
}

void multiply(Element element, int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b, float* c,
              int64_t c_stride, bool accumulate, double scale = 1.0) {
  cpu::multiply({.m = m,
                 .n = n,
                 .k = k,
                 .a = a,
                 .b = b,
                 .element = element,
                 .c = c,
                 .c_stride = c_stride,
                 .c_element = Element::kF32,
                 .accumulate = accumulate,
                 .scale = static_cast<float>(scale)});
}

/// out and lse of one row join what the row had before. `part` is the sum of values weighted by
/// exp(score - state.maximum).
void merge_row(float* out, float& lse, const float* part, const SoftmaxState& state, int64_t dim) {
  const float before = lse, added = state.maximum + std::log(state.sum);
  const float larger = std::max(before, added);  // finite: at least one key was met here
  lse = larger + std::log(std::exp(before - larger) + std::exp(added - larger));
  const float keep = std::exp(before - lse), take = std::exp(added - lse) / state.sum;
  for (int64_t c = 0; c < dim; ++c) out[c] = keep * out[c] + take * part[c];
}

}  // namespace

bool can_attend_rectangle(const at::Tensor& q) {
  const bool dtype = q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16;
  return q.device().is_cpu() && dtype && can_multiply(Element::kF32);
}

void attend_rectangle(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                      const at::Tensor& out, const at::Tensor& lse) {
  const Element element = element_of(q);
  const at::Tensor queries = as_element(q, element), keys = as_element(k, element),
                   values = as_element(v, element);
  const int64_t tokens = q.size(0), heads = q.size(1), dim = q.size(2), group = heads / k.size(1);
  run_jobs(heads * ((tokens + kQueries - 1) / kQueries), [&](int64_t job) {
    const int64_t head = job % heads, first = job / heads * kQueries;
    const int64_t count = std::min(kQueries, tokens - first);
    const Head q_head(queries, head), k_head(keys, head / group), v_head(values, head / group),
        out_head(out, head);
    const Work work = take_work(element, dim);
    SoftmaxState state[kQueries];
    std::fill(state, state + count, SoftmaxState{-std::numeric_limits<float>::max(), 0.0f});
    for (int64_t key = 0; key < keys.size(0); key += kKeys) {
      const int64_t width = std::min(kKeys, keys.size(0) - key);
      multiply(element, count, width, dim, q_head.rows(first), k_head.rows(key), work.p.values, kKeys, false,
               scale);
      for (int64_t i = 0; i < count; ++i) {
        const float shrink = kernels().softmax_block(work.p.row(i), width, width, state[i]);
        if (key > 0 && shrink != 1.0f) kernels().scale_row(work.out + i * dim, dim, shrink);
      }
      work.p.round(count, width);
      multiply(element, count, dim, width, work.p.operand(true), v_head.columns(key), work.out, dim, key > 0);
    }
    float* const head_lse = lse.data_ptr<float>() + head * lse.stride(0) + first;
    for (int64_t i = 0; i < count; ++i)
      merge_row(out_head.floats(first + i), head_lse[i], work.out + i * dim, state[i], dim);
  });
}

void attend_rectangle_backward(const at::Tensor& q, const at::Tensor& dout, const at::Tensor& lse,
                               const at::Tensor& delta, const at::Tensor& k, const at::Tensor& v,
                               double scale, const at::Tensor& dq, const at::Tensor& dk,
                               const at::Tensor& dv) {
  const Element element = element_of(q);
  const at::Tensor queries = as_element(q, element), keys = as_element(k, element),
                   values = as_element(v, element), out_grad = as_element(dout, element);
  const int64_t tokens = q.size(0), dim = q.size(2), group = q.size(1) / k.size(1);
  run_jobs(k.size(1), [&](int64_t key_head) {  // the query heads of a group add to the same gradients
    const Head k_head(keys, key_head), v_head(values, key_head), dk_head(dk, key_head), dv_head(dv, key_head);
    const Work work = take_work(element, dim);
    const Scores &p = work.p, &ds = work.ds;
    for (int64_t head = key_head * group; head < (key_head + 1) * group; ++head) {
      const Head q_head(queries, head), g_head(out_grad, head), dq_head(dq, head);
      const float* const head_lse = lse.data_ptr<float>() + head * lse.stride(0);
      const float* const head_delta = delta.data_ptr<float>() + head * delta.stride(0);
      for (int64_t first = 0; first < tokens; first += kQueries) {
        const int64_t count = std::min(kQueries, tokens - first);
        for (int64_t key = 0; key < keys.size(0); key += kKeys) {
          const int64_t width = std::min(kKeys, keys.size(0) - key);
          multiply(element, count, width, dim, q_head.rows(first), k_head.rows(key), p.values, kKeys, false,
                   scale);
          multiply(element, count, width, dim, g_head.rows(first), v_head.rows(key), ds.values, kKeys, false);
          for (int64_t i = 0; i < count; ++i) {
            kernels().softmax_block_backward(p.row(i), ds.row(i), width, width, head_lse[first + i],
                                             head_delta[first + i], static_cast<float>(scale));
          }
          p.round(count, width);
          ds.round(count, width);
          multiply(element, width, dim, count, p.operand(false), g_head.columns(first), dv_head.floats(key),
                   dv_head.stride, true);
          multiply(element, width, dim, count, ds.operand(false), q_head.columns(first), dk_head.floats(key),
                   dk_head.stride, true);
          multiply(element, count, dim, width, ds.operand(true), k_head.columns(key), dq_head.floats(first),
                   dq_head.stride, true);
        }
      }
    }
  });
}

}  // namespace phalanx::ops::cpu
