#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/attention_options.h"

/// Causal attention in parts: the rows of the flat token axis that hold the queries and those that hold the
/// keys need not be the same, and the results of several key blocks are merged. Compute dtypes as everywhere
/// in ops/; sums, results and gradients of a part are "wide": fp32, or fp64 for fp64.
namespace phalanx::ops {

/// Rows [begin, end) of the flat token axis.
struct RowRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const RowRange&) const = default;
};

/// A rectangle of scores without holes, in rows of the query block and of the key block; `causal`: a square
/// in which query i sees keys 0..i, otherwise every query sees every key.
struct AttentionPiece {
  int64_t query = 0, num_queries = 0, key = 0, num_keys = 0;
  bool causal = false;
  int64_t num_scores() const;
  bool operator==(const AttentionPiece&) const = default;
};

/// What a block of queries sees of a block of keys: query i sees key j where both are of one sample and j <=
/// i on the flat axis. Each block holds the rows of its ranges, which ascend and do not overlap, one after
/// the other. No query and key meet in two pieces, and every piece shows at least one key to each of its
/// queries; nothing visible: no pieces. The same rows on both sides: one causal piece for each sample.
std::vector<AttentionPiece> attention_pieces(const std::vector<RowRange>& queries,
                                             const std::vector<RowRange>& keys,
                                             const std::vector<int32_t>& cu_seqlens);

/// Attention of n queries over the keys they have met so far; wide.
struct AttentionState {
  at::Tensor out;  ///< [n, H, d], normalised by the keys met; 0 where none was
  at::Tensor lse;  ///< [H, n], log of the sum of exp(scores); -inf where no key was met
};
AttentionState start_attention(const at::Tensor& q);  ///< no key met yet

/// Lets the queries meet one more block of keys (Milakov & Gimelshein 2018, arXiv:1805.02867):
///
///     lse' = log(exp(lse) + exp(lse_block)),  out' = exp(lse - lse') out + exp(lse_block - lse') out_block
///
/// q [n, H, d], k and v [m, K, d] with H a multiple of K, all contiguous and of one dtype. Causal pieces go
/// to the kernels of cpu/attention.h and the others to cpu/attention_rectangle.h where these apply; else ATen
/// computes them in chunks of bounded memory, beside wide copies of the keys and values of one piece. A block
/// that is the first one and holds everything a query sees leaves the bits that cpu/attention.h gave. With a
/// window or a soft cap ATen computes all pieces. @throws c10::Error for a window with pieces that are not
/// causal: they do not tell how far their keys lie before their queries.
void attend_block(AttentionState& state, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const std::vector<AttentionPiece>& pieces, const AttentionOptions& options);

/// The query side of the backward, the same for every block of keys.
struct AttentionQueries {
  at::Tensor q, out, dout;  ///< [n, H, d], the dtype of the inputs, contiguous
  at::Tensor lse;           ///< [H, n] wide, over all keys
  at::Tensor delta;         ///< [H, n] wide, row_delta(out, dout)
};
/// sum over d of dout * out: what the softmax takes off every gradient of a score. [n, H, d] -> [H, n], wide.
at::Tensor row_delta(const at::Tensor& out, const at::Tensor& dout);

/// Adds the gradients of one block to dq [n, H, d], dk and dv [m, K, d], wide and contiguous. With
/// p = exp(scale q k^T - lse) and ds = p (dout v^T - delta):
///
///     dq += scale ds k,  dk += scale ds^T q,  dv += p^T dout
///
/// and with a soft cap ds (1 - (s / softcap)^2) in place of ds, s being the capped score.
///
/// Gradients of causal pieces that the kernels compute are rounded to the dtype of q before they are added.
void attend_block_backward(const AttentionQueries& queries, const at::Tensor& k, const at::Tensor& v,
                           const std::vector<AttentionPiece>& pieces, const AttentionOptions& options,
                           const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv);

}  // namespace phalanx::ops
