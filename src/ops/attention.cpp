#include "ops/attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "ops/attention_block.h"
#include "ops/batch_invariant.h"
#include "ops/cpu/attention.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of one sample as ATen's attention wants them: [T, H, d] -> [1, H, T, d].
at::Tensor heads_first(const at::Tensor& rows) {
  return rows.transpose(0, 1).unsqueeze(0);
}
at::Tensor tokens_first(const at::Tensor& heads) {
  return heads.squeeze(0).transpose(0, 1);
}

at::Tensor repeat_heads(const at::Tensor& kv, int64_t times) {  // [T, K, d] -> [T, H, d]
  return times == 1 ? kv : kv.repeat_interleave(times, 1);
}
at::Tensor sum_groups(const at::Tensor& grad, int64_t times) {  // [T, H, d] -> [T, K, d]
  if (times == 1) return grad;
  return grad.reshape({grad.size(0), grad.size(1) / times, times, grad.size(2)}).sum(2);
}

struct VarlenAttention : torch::autograd::Function<VarlenAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<int32_t>& cu, double scale) {
    const int64_t group = q.size(1) / k.size(1);
    at::Tensor out = at::empty(q.sizes(), q.options());
    variable_list saved = {q, k, v, out};
    for (size_t s = 0; s + 1 < cu.size(); ++s) {
      const auto rows = [&](const at::Tensor& t) { return t.narrow(0, cu[s], cu[s + 1] - cu[s]); };
      auto [o, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
          heads_first(rows(q)), heads_first(repeat_heads(rows(k), group)),
          heads_first(repeat_heads(rows(v), group)), 0.0, true, {}, scale);
      rows(out).copy_(tokens_first(o));
      saved.push_back(lse);
    }
    ctx->save_for_backward(saved);
    ctx->saved_data["cu"] = std::vector<int64_t>(cu.begin(), cu.end());
    ctx->saved_data["scale"] = scale;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const std::vector<int64_t> cu = ctx->saved_data["cu"].toIntVector();
    const double scale = ctx->saved_data["scale"].toDouble();
    const int64_t group = q.size(1) / k.size(1);
    at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    for (size_t s = 0; s + 1 < cu.size(); ++s) {
      const auto rows = [&](const at::Tensor& t) { return t.narrow(0, cu[s], cu[s + 1] - cu[s]); };
      auto [a, b, c] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          heads_first(rows(grads[0])), heads_first(rows(q)), heads_first(repeat_heads(rows(k), group)),
          heads_first(repeat_heads(rows(v), group)), heads_first(rows(out)), saved[4 + s], 0.0, true, {},
          scale);
      rows(dq).copy_(tokens_first(a));
      rows(dk).copy_(sum_groups(tokens_first(b), group));
      rows(dv).copy_(sum_groups(tokens_first(c), group));
    }
    return {dq, dk, dv, at::Tensor(), at::Tensor()};
  }
};

// The CPU kernels: all samples at once, grouped heads without copies of keys and values.
struct FusedAttention : torch::autograd::Function<FusedAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<int32_t>& cu, double scale) {
    const std::vector<int64_t> bounds(cu.begin(), cu.end());
    at::Tensor out = at::empty(q.sizes(), q.options());
    at::Tensor lse = at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat));
    cpu::attend(q, k, v, bounds, scale, out, lse);
    ctx->save_for_backward({q, k, v, out, lse});
    ctx->saved_data["cu"] = bounds;
    ctx->saved_data["scale"] = scale;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
    at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()),
               dv = at::empty(v.sizes(), v.options());
    cpu::attend_backward(grads[0].contiguous(), q, k, v, saved[3], saved[4],
                         ctx->saved_data["cu"].toIntVector(), ctx->saved_data["scale"].toDouble(), dq, dk,
                         dv);
    return {dq, dk, dv, at::Tensor(), at::Tensor()};
  }
};

// What the kernels do not know: scores in chunks (attention_block.h).
struct ChunkedAttention : torch::autograd::Function<ChunkedAttention> {
  static std::vector<AttentionPiece> pieces(const std::vector<int32_t>& cu) {
    const std::vector<RowRange> rows = {{0, cu.back()}};
    return attention_pieces(rows, rows, cu);
  }
  static AttentionOptions options_of(AutogradContext* ctx) {
    return {ctx->saved_data["scale"].toDouble(), ctx->saved_data["window"].toInt(),
            ctx->saved_data["softcap"].toDouble()};
  }
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<int32_t>& cu,
                            const AttentionOptions& options) {
    AttentionState state = start_attention(q);
    attend_block(state, q, k, v, pieces(cu), options);
    const at::Tensor out = state.out.to(q.scalar_type());
    ctx->save_for_backward({q, k, v, out, state.lse});
    ctx->saved_data["cu"] = std::vector<int64_t>(cu.begin(), cu.end());
    ctx->saved_data["scale"] = options.scale;
    ctx->saved_data["window"] = options.window;
    ctx->saved_data["softcap"] = options.softcap;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const std::vector<int64_t> cu = ctx->saved_data["cu"].toIntVector();
    const at::Tensor &k = saved[1], &v = saved[2], dout = grads[0].contiguous();
    const AttentionQueries queries{saved[0], saved[3], dout, saved[4], row_delta(saved[3], dout)};
    const at::TensorOptions wide = saved[4].options();
    const at::Tensor dq = at::zeros(saved[0].sizes(), wide), dk = at::zeros(k.sizes(), wide),
                     dv = at::zeros(v.sizes(), wide);
    attend_block_backward(queries, k, v, pieces({cu.begin(), cu.end()}), options_of(ctx), dq, dk, dv);
    const at::ScalarType type = k.scalar_type();
    return {dq.to(type), dk.to(type), dv.to(type), at::Tensor(), at::Tensor()};
  }
};

int64_t longest_sample(const std::vector<int32_t>& cu) {
  int64_t longest = 0;
  for (size_t s = 0; s + 1 < cu.size(); ++s) longest = std::max<int64_t>(longest, cu[s + 1] - cu[s]);
  return longest;
}

}  // namespace

at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& cu_seqlens, const AttentionOptions& asked) {
  TORCH_CHECK(!cu_seqlens.empty() && cu_seqlens.front() == 0 && cu_seqlens.back() == q.size(0),
              "varlen_attention: cu_seqlens must run from 0 to the number of tokens ", q.size(0));
  TORCH_CHECK(q.size(1) % k.size(1) == 0, "varlen_attention: ", q.size(1), " query heads are no multiple of ",
              k.size(1), " key heads");
  const AttentionOptions options = asked.within(longest_sample(cu_seqlens));
  if (BatchInvariant::is_active()) {
    if (!options.is_plain())
      BatchInvariant::refuse("the model caps attention scores or sees a window of its context only");
    if (!cpu::can_attend(q)) BatchInvariant::refuse("attention has no kernel for this dtype on this machine");
  }
  const at::Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous();
  if (!options.is_plain()) return ChunkedAttention::apply(queries, keys, values, cu_seqlens, options);
  if (cpu::can_attend(q)) return FusedAttention::apply(queries, keys, values, cu_seqlens, options.scale);
  return VarlenAttention::apply(queries, keys, values, cu_seqlens, options.scale);
}

}  // namespace phalanx::ops
