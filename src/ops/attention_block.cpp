#include "ops/attention_block.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "ops/cpu/attention.h"
#include "ops/cpu/attention_rectangle.h"
#include "ops/sum_dtype.h"

namespace phalanx::ops {
namespace {

constexpr int64_t kChunkKeys = 1024;
constexpr int64_t kChunkScores = int64_t{1} << 21;  // of all heads together: 8 MiB in fp32, 16 in fp64
constexpr int64_t kMinChunkQueries = 16;
constexpr double kBelowAllScores = -1e30;  // finite in fp32

/// The part of a range that lies in one sample, and the row of the block at which it starts.
struct Part {
  int64_t begin, end, row;
};

std::vector<Part> parts_in(const RowRange& sample, const std::vector<RowRange>& ranges) {
  std::vector<Part> parts;
  int64_t row = 0;
  for (const RowRange& range : ranges) {
    const int64_t begin = std::max(range.begin, sample.begin), end = std::min(range.end, sample.end);
    if (begin < end) parts.push_back({begin, end, row + begin - range.begin});
    row += range.size();
  }
  return parts;
}

bool same_rows(const std::vector<Part>& a, const std::vector<Part>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Part& x, const Part& y) { return x.begin == y.begin && x.end == y.end; });
}

/// Adds a piece, or makes the last one larger where both are full and lie side by side.
void add_piece(std::vector<AttentionPiece>& pieces, const AttentionPiece& piece) {
  if (piece.num_queries <= 0 || piece.num_keys <= 0) return;
  if (!pieces.empty() && !piece.causal && !pieces.back().causal) {
    AttentionPiece& last = pieces.back();
    const bool same_queries = last.query == piece.query && last.num_queries == piece.num_queries;
    const bool same_keys = last.key == piece.key && last.num_keys == piece.num_keys;
    if (same_queries && last.key + last.num_keys == piece.key) {
      last.num_keys += piece.num_keys;
      return;
    }
    if (same_keys && last.query + last.num_queries == piece.query) {
      last.num_queries += piece.num_queries;
      return;
    }
  }
  pieces.push_back(piece);
}

/// Queries behind all keys see all of them; those beside the keys see what comes before them all and, of the
/// rows that are in both parts, a triangle.
void add_pieces(std::vector<AttentionPiece>& pieces, const Part& q, const Part& k) {
  const auto piece = [&](int64_t query, int64_t query_end, int64_t key, int64_t key_end, bool causal) {
    return AttentionPiece{query - q.begin + q.row, query_end - query, key - k.begin + k.row, key_end - key,
                          causal};
  };
  const int64_t shared = std::max(q.begin, k.begin), shared_end = std::min(q.end, k.end);
  if (shared < shared_end) {
    add_piece(pieces, piece(shared, shared_end, k.begin, shared, false));
    add_piece(pieces, piece(shared, shared_end, shared, shared_end, true));
  }
  add_piece(pieces, piece(std::max(q.begin, k.end), q.end, k.begin, k.end, false));
}

at::Tensor rows_of(const at::Tensor& block, int64_t first, int64_t count) {
  return block.narrow(0, first, count);
}

// ---- causal pieces that the CPU kernels take: as many neighbours as possible in one call

/// Causal pieces that follow each other without a gap in both blocks, as the samples of one call.
struct Run {
  int64_t query, key;
  std::vector<int64_t> cu_seqlens;
  int64_t tokens() const { return cu_seqlens.back(); }
};

std::vector<Run> causal_runs(const std::vector<AttentionPiece>& pieces) {
  std::vector<Run> runs;
  for (const AttentionPiece& piece : pieces) {
    if (!piece.causal) continue;
    const bool goes_on = !runs.empty() && runs.back().query + runs.back().tokens() == piece.query &&
                         runs.back().key + runs.back().tokens() == piece.key;
    if (!goes_on) runs.push_back({piece.query, piece.key, {0}});
    runs.back().cu_seqlens.push_back(runs.back().tokens() + piece.num_queries);
  }
  return runs;
}

/// out [T, H, d] and lse [H, T] of block queries from `first` on join what these queries have met before.
/// Each of them has met at least one key here, so no -inf is taken from another.
void merge(AttentionState& state, int64_t first, const at::Tensor& out, const at::Tensor& lse) {
  const at::Tensor before = state.lse.narrow(1, first, out.size(0));
  const at::Tensor all = at::logaddexp(before, lse);
  const auto weight = [&](const at::Tensor& part) {  // [H, T] -> [T, H, 1]
    return (part - all).exp_().t().unsqueeze(2);
  };
  rows_of(state.out, first, out.size(0)).mul_(weight(before)).addcmul_(out, weight(lse));
  before.copy_(all);
}

void attend_run(AttentionState& state, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                const Run& run, double scale) {
  const at::Tensor queries = rows_of(q, run.query, run.tokens());
  const at::Tensor out = at::empty(queries.sizes(), q.options());
  const at::Tensor lse = at::empty({q.size(1), run.tokens()}, q.options().dtype(at::kFloat));
  cpu::attend(queries, rows_of(k, run.key, run.tokens()), rows_of(v, run.key, run.tokens()), run.cu_seqlens,
              scale, out, lse);
  merge(state, run.query, out.to(state.out.scalar_type()), lse);
}

void attend_run_backward(const AttentionQueries& queries, const at::Tensor& k, const at::Tensor& v,
                         const Run& run, double scale, const at::Tensor& dq, const at::Tensor& dk,
                         const at::Tensor& dv) {
  const auto of_queries = [&](const at::Tensor& t) { return rows_of(t, run.query, run.tokens()); };
  const auto of_keys = [&](const at::Tensor& t) { return rows_of(t, run.key, run.tokens()); };
  const at::Tensor q = of_queries(queries.q), keys = of_keys(k);
  const at::Tensor q_grad = at::empty_like(q), k_grad = at::empty_like(keys), v_grad = at::empty_like(keys);
  cpu::attend_backward(of_queries(queries.dout), q, keys, of_keys(v), of_queries(queries.out),
                       queries.lse.narrow(1, run.query, run.tokens()), run.cu_seqlens, scale, q_grad, k_grad,
                       v_grad);
  of_queries(dq).add_(q_grad);
  of_keys(dk).add_(k_grad);
  of_keys(dv).add_(v_grad);
}

// ---- rectangles that the CPU kernels take

void attend_rectangle(AttentionState& state, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const AttentionPiece& piece, double scale) {
  cpu::attend_rectangle(rows_of(q, piece.query, piece.num_queries), rows_of(k, piece.key, piece.num_keys),
                        rows_of(v, piece.key, piece.num_keys), scale,
                        rows_of(state.out, piece.query, piece.num_queries),
                        state.lse.narrow(1, piece.query, piece.num_queries));
}

void attend_rectangle_backward(const AttentionQueries& queries, const at::Tensor& k, const at::Tensor& v,
                               const AttentionPiece& piece, double scale, const at::Tensor& dq,
                               const at::Tensor& dk, const at::Tensor& dv) {
  const auto of_queries = [&](const at::Tensor& t) { return rows_of(t, piece.query, piece.num_queries); };
  const auto of_keys = [&](const at::Tensor& t) { return rows_of(t, piece.key, piece.num_keys); };
  const auto statistic = [&](const at::Tensor& t) { return t.narrow(1, piece.query, piece.num_queries); };
  cpu::attend_rectangle_backward(of_queries(queries.q), of_queries(queries.dout), statistic(queries.lse),
                                 statistic(queries.delta), of_keys(k), of_keys(v), scale, of_queries(dq),
                                 of_keys(dk), of_keys(dv));
}

// ---- any piece, by ATen's matrix products: the G query heads of a key head are rows of one matrix

/// [T, K, d] -> [K, T, d], wide; may be a view of `rows`.
at::Tensor key_heads(const at::Tensor& rows) {
  return rows.transpose(0, 1).to(sum_dtype(rows)).contiguous();
}
/// [T, H, d] -> [K, G T, d], wide; may be a view of `rows`.
at::Tensor query_heads(const at::Tensor& rows, int64_t num_key_heads) {
  const int64_t group = rows.size(1) / num_key_heads;
  return rows.to(sum_dtype(rows))
      .view({rows.size(0), num_key_heads, group, rows.size(2)})
      .permute({1, 2, 0, 3})
      .reshape({num_key_heads, group * rows.size(0), rows.size(2)});
}
/// [K, G T, d] -> [T, H, d]
at::Tensor token_rows(const at::Tensor& heads, int64_t num_tokens) {
  const int64_t group = heads.size(1) / num_tokens;
  return heads.view({heads.size(0), group, num_tokens, heads.size(2)})
      .permute({2, 0, 1, 3})
      .reshape({num_tokens, heads.size(0) * group, heads.size(2)});
}
/// [H, T] of some queries -> [K, G T, 1]
at::Tensor per_score_row(const at::Tensor& per_head, int64_t num_key_heads) {
  return per_head.reshape({num_key_heads, -1, 1});
}

/// Rows of a piece.
struct Chunk {
  int64_t first, count;
  int64_t end() const { return first + count; }
};

std::vector<Chunk> chunks_of(int64_t total, int64_t size) {
  std::vector<Chunk> chunks;
  for (int64_t first = 0; first < total; first += size)
    chunks.push_back({first, std::min(size, total - first)});
  return chunks;
}

std::vector<Chunk> query_chunks(const AttentionPiece& piece, int64_t num_heads) {
  const int64_t keys = std::min(piece.num_keys, kChunkKeys);
  return chunks_of(piece.num_queries, std::max(kMinChunkQueries, kChunkScores / (num_heads * keys)));
}

/// The keys that some query of the chunk sees.
std::vector<Chunk> key_chunks(const AttentionPiece& piece, const Chunk& queries,
                              const AttentionOptions& options) {
  const int64_t begin = options.window > 0 ? std::max<int64_t>(0, queries.first - options.window + 1) : 0;
  const int64_t end = piece.causal ? queries.end() : piece.num_keys;
  std::vector<Chunk> chunks = chunks_of(end - begin, kChunkKeys);
  for (Chunk& chunk : chunks) chunk.first += begin;
  return chunks;
}

struct Scores {
  at::Tensor values;  // [K, G T, keys], -inf where hidden
  at::Tensor slope;   // of the soft cap; undefined without
};

/// From queries that carry the scale.
Scores masked_scores(const AttentionPiece& piece, const at::Tensor& q, const at::Tensor& keys,
                     const Chunk& of_queries, const Chunk& of_keys, const AttentionOptions& options) {
  Scores scores{at::bmm(q, keys.narrow(1, of_keys.first, of_keys.count).transpose(1, 2)), {}};
  if (options.softcap > 0) {
    const at::Tensor share = scores.values.div_(options.softcap).tanh_();
    scores.slope = 1 - share.square();
    scores.values = share * options.softcap;
  }
  const auto hide = [&](const at::Tensor& hidden) {
    scores.values.view({scores.values.size(0), -1, of_queries.count, of_keys.count})
        .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  };
  const auto all = [&] { return at::ones({of_queries.count, of_keys.count}, q.options().dtype(at::kBool)); };
  const int64_t distance = of_queries.first - of_keys.first;  // of the first query from the first key
  if (piece.causal && of_keys.end() - 1 > of_queries.first) hide(all().triu_(distance + 1));
  if (options.window > 0 && of_queries.end() - options.window > of_keys.first)
    hide(all().tril_(distance - options.window));
  return scores;
}

void attend_piece(AttentionState& state, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const AttentionPiece& piece, const AttentionOptions& options) {
  const int64_t num_key_heads = k.size(1);
  const at::Tensor keys = key_heads(rows_of(k, piece.key, piece.num_keys));
  const at::Tensor values = key_heads(rows_of(v, piece.key, piece.num_keys));
  for (const Chunk& of_queries : query_chunks(piece, q.size(1))) {
    const int64_t first = piece.query + of_queries.first;
    const at::Tensor queries =
        query_heads(rows_of(q, first, of_queries.count), num_key_heads).mul(options.scale);
    // Not -inf: a window may hide all keys of a chunk from a query, and nothing is then taken from nothing.
    at::Tensor maximum = at::full({num_key_heads, queries.size(1), 1}, kBelowAllScores, queries.options());
    at::Tensor sum = at::zeros_like(maximum), out = at::zeros_like(queries);
    for (const Chunk& of_keys : key_chunks(piece, of_queries, options)) {
      const at::Tensor p = masked_scores(piece, queries, keys, of_queries, of_keys, options).values;
      const at::Tensor larger = at::maximum(maximum, p.amax(2, true));
      const at::Tensor shrink = (maximum - larger).exp_();
      p.sub_(larger).exp_();
      sum.mul_(shrink).add_(p.sum(2, true));
      out.mul_(shrink).baddbmm_(p, values.narrow(1, of_keys.first, of_keys.count));
      maximum = larger;
    }
    const at::Tensor lse = sum.log().add_(maximum).view({q.size(1), of_queries.count});
    merge(state, first, token_rows(out.div_(sum), of_queries.count), lse);
  }
}

void attend_piece_backward(const AttentionQueries& all, const at::Tensor& k, const at::Tensor& v,
                           const AttentionPiece& piece, const AttentionOptions& options, const at::Tensor& dq,
                           const at::Tensor& dk, const at::Tensor& dv) {
  const int64_t num_key_heads = k.size(1);
  const at::Tensor keys = key_heads(rows_of(k, piece.key, piece.num_keys));
  const at::Tensor values = key_heads(rows_of(v, piece.key, piece.num_keys));
  const at::Tensor keys_grad = at::zeros_like(keys), values_grad = at::zeros_like(values);
  for (const Chunk& of_queries : query_chunks(piece, all.q.size(1))) {
    const int64_t first = piece.query + of_queries.first;
    const auto heads = [&](const at::Tensor& t) {
      return query_heads(rows_of(t, first, of_queries.count), num_key_heads);
    };
    const auto statistic = [&](const at::Tensor& t) {
      return per_score_row(t.narrow(1, first, of_queries.count), num_key_heads);
    };
    const at::Tensor queries = heads(all.q).mul(options.scale), dout = heads(all.dout);
    const at::Tensor lse = statistic(all.lse), delta = statistic(all.delta);
    const at::Tensor queries_grad = at::zeros_like(queries);
    for (const Chunk& of_keys : key_chunks(piece, of_queries, options)) {
      const auto part = [&](const at::Tensor& t) { return t.narrow(1, of_keys.first, of_keys.count); };
      const Scores scores = masked_scores(piece, queries, keys, of_queries, of_keys, options);
      const at::Tensor p = scores.values.sub_(lse).exp_();
      part(values_grad).baddbmm_(p.transpose(1, 2), dout);
      const at::Tensor ds = at::bmm(dout, part(values).transpose(1, 2)).sub_(delta).mul_(p);
      if (scores.slope.defined()) ds.mul_(scores.slope);
      part(keys_grad).baddbmm_(ds.transpose(1, 2), queries);  // these queries carry the scale
      queries_grad.baddbmm_(ds, part(keys));
    }
    rows_of(dq, first, of_queries.count).add_(token_rows(queries_grad, of_queries.count), options.scale);
  }
  rows_of(dk, piece.key, piece.num_keys).add_(keys_grad.transpose(0, 1));
  rows_of(dv, piece.key, piece.num_keys).add_(values_grad.transpose(0, 1));
}

/// Whether a kernel of cpu/ takes the piece; a machine may have those of one kind only.
bool kernel_takes(const AttentionPiece& piece, const at::Tensor& q, const AttentionOptions& options) {
  if (!options.is_plain()) return false;
  return piece.causal ? cpu::can_attend(q) : cpu::can_attend_rectangle(q);
}

void check_heads(const at::Tensor& q, const at::Tensor& k) {
  TORCH_CHECK(q.size(1) % k.size(1) == 0, "attend_block: ", q.size(1), " query heads are no multiple of ",
              k.size(1), " key heads");
}

void check_window(const std::vector<AttentionPiece>& pieces, const AttentionOptions& options) {
  const bool all_causal =
      std::all_of(pieces.begin(), pieces.end(), [](const AttentionPiece& piece) { return piece.causal; });
  TORCH_CHECK(options.window == 0 || all_causal, "attend_block: a window of ", options.window,
              " needs causal pieces only");
}

}  // namespace

int64_t AttentionPiece::num_scores() const {
  return causal ? num_queries * (num_queries + 1) / 2 : num_queries * num_keys;
}

std::vector<AttentionPiece> attention_pieces(const std::vector<RowRange>& queries,
                                             const std::vector<RowRange>& keys,
                                             const std::vector<int32_t>& cu_seqlens) {
  std::vector<AttentionPiece> pieces;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    const RowRange sample{cu_seqlens[s], cu_seqlens[s + 1]};
    const std::vector<Part> q = parts_in(sample, queries), k = parts_in(sample, keys);
    if (q.empty() || k.empty()) continue;
    if (same_rows(q, k)) {  // rows ascend on both sides, so the order inside the block decides, too
      const int64_t rows = q.back().row + q.back().end - q.back().begin - q.front().row;
      add_piece(pieces, {q.front().row, rows, k.front().row, rows, true});
      continue;
    }
    for (const Part& k_part : k) {
      for (const Part& q_part : q) add_pieces(pieces, q_part, k_part);
    }
  }
  return pieces;
}

AttentionState start_attention(const at::Tensor& q) {
  const at::TensorOptions wide = q.options().dtype(sum_dtype(q));
  return {at::zeros(q.sizes(), wide),
          at::full({q.size(1), q.size(0)}, -std::numeric_limits<double>::infinity(), wide)};
}

void attend_block(AttentionState& state, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const std::vector<AttentionPiece>& pieces, const AttentionOptions& options) {
  check_heads(q, k);
  check_window(pieces, options);
  if (options.is_plain() && cpu::can_attend(q)) {
    for (const Run& run : causal_runs(pieces)) attend_run(state, q, k, v, run, options.scale);
  }
  for (const AttentionPiece& piece : pieces) {
    if (!kernel_takes(piece, q, options)) {
      attend_piece(state, q, k, v, piece, options);
    } else if (!piece.causal) {
      attend_rectangle(state, q, k, v, piece, options.scale);
    }
  }
}

at::Tensor row_delta(const at::Tensor& out, const at::Tensor& dout) {
  const at::ScalarType wide = sum_dtype(out);
  return (out.to(wide) * dout.to(wide)).sum(2).t().contiguous();
}

void attend_block_backward(const AttentionQueries& queries, const at::Tensor& k, const at::Tensor& v,
                           const std::vector<AttentionPiece>& pieces, const AttentionOptions& options,
                           const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv) {
  check_heads(queries.q, k);
  check_window(pieces, options);
  if (options.is_plain() && cpu::can_attend(queries.q)) {
    for (const Run& run : causal_runs(pieces))
      attend_run_backward(queries, k, v, run, options.scale, dq, dk, dv);
  }
  for (const AttentionPiece& piece : pieces) {
    if (!kernel_takes(piece, queries.q, options)) {
      attend_piece_backward(queries, k, v, piece, options, dq, dk, dv);
    } else if (!piece.causal) {
      attend_rectangle_backward(queries, k, v, piece, options.scale, dq, dk, dv);
    }
  }
}

}  // namespace phalanx::ops
