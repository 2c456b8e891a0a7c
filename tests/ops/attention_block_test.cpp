#include "ops/attention_block.h"

#include "ops/attention.h"
#include "ops/compare.h"
#include "ops/cpu/isa.h"

namespace phalanx::ops {
namespace {

using test::Tensors;
using Ranges = std::vector<RowRange>;

std::vector<int64_t> rows_in(const Ranges& ranges) {
  std::vector<int64_t> rows;
  for (const RowRange& range : ranges) {
    for (int64_t row = range.begin; row < range.end; ++row) rows.push_back(row);
  }
  return rows;
}

/// [queries, keys]: how many pieces show the key to the query.
at::Tensor times_seen(const std::vector<AttentionPiece>& pieces, int64_t queries, int64_t keys) {
  at::Tensor seen = at::zeros({queries, keys}, at::kInt);
  for (const AttentionPiece& p : pieces) {
    const at::Tensor ones = at::ones({p.num_queries, p.num_keys}, at::kInt);
    seen.narrow(0, p.query, p.num_queries).narrow(1, p.key, p.num_keys).add_(p.causal ? ones.tril() : ones);
  }
  return seen;
}

at::Tensor mask(const Ranges& queries, const Ranges& keys, const std::vector<int32_t>& cu) {
  const auto sample_of = [&](int64_t row) {
    return std::upper_bound(cu.begin(), cu.end(), row) - cu.begin();
  };
  const std::vector<int64_t> q = rows_in(queries), k = rows_in(keys);
  at::Tensor seen = at::zeros({static_cast<int64_t>(q.size()), static_cast<int64_t>(k.size())}, at::kInt);
  auto times = seen.accessor<int, 2>();
  for (size_t i = 0; i < q.size(); ++i) {
    for (size_t j = 0; j < k.size(); ++j) {
      if (k[j] <= q[i] && sample_of(q[i]) == sample_of(k[j]))
        times[static_cast<int64_t>(i)][static_cast<int64_t>(j)] = 1;
    }
  }
  return seen;
}

/// Up to three ranges of a 24-row axis.
Ranges random_ranges(at::Generator& generator) {
  const at::Tensor ends = std::get<0>(at::randint(0, 25, {6}, generator, at::kLong).sort());
  Ranges ranges;
  for (int i = 0; i < 6; i += 2) {
    const RowRange range{ends[i].item<int64_t>(), ends[i + 1].item<int64_t>()};
    if (range.size() > 0) ranges.push_back(range);
  }
  return ranges;
}

TEST(AttentionPieces, ShowEveryVisibleKeyOnceAndNoOther) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
  for (const std::vector<int32_t>& cu :
       {std::vector<int32_t>{0, 24}, {0, 5, 6, 6, 17, 24}, {0, 8, 16, 24}, {0, 1, 2, 24}}) {
    for (int trial = 0; trial < 200; ++trial) {
      const Ranges queries = random_ranges(generator);
      const Ranges keys = trial % 10 == 0 ? queries : random_ranges(generator);
      const std::vector<AttentionPiece> pieces = attention_pieces(queries, keys, cu);
      const at::Tensor expected = mask(queries, keys, cu);
      ASSERT_TRUE(at::equal(times_seen(pieces, expected.size(0), expected.size(1)), expected));
      int64_t scores = 0;
      for (const AttentionPiece& piece : pieces) scores += piece.num_scores();
      ASSERT_EQ(scores, expected.sum().item<int64_t>());
    }
  }
}

TEST(AttentionPieces, OfTheSameRowsAreOneSquareForEachSample) {
  const Ranges rows = {{2, 6}, {20, 24}};
  const std::vector<AttentionPiece> expected = {{0, 3, 0, 3, true}, {3, 5, 3, 5, true}};
  EXPECT_EQ(attention_pieces(rows, rows, {0, 5, 24}), expected);
}

TEST(AttentionPieces, JoinRectanglesThatLieSideBySide) {
  const std::vector<AttentionPiece> late_queries = {{4, 4, 0, 8, false}}, early_keys = {{0, 8, 0, 4, false}};
  const Ranges outer = {{0, 4}, {12, 16}}, inner = {{4, 8}, {8, 12}};
  EXPECT_EQ(attention_pieces(outer, inner, {0, 16}), late_queries);
  EXPECT_EQ(attention_pieces(inner, outer, {0, 16}), early_keys);
}

struct BlockCase {
  std::vector<int32_t> cu;
  int64_t heads, kv_heads, dim;
  std::vector<Ranges> key_blocks;  // together the whole axis; the queries are all rows
};

const std::vector<BlockCase> kBlockCases = {
    {{0, 30}, 4, 4, 16, {{{0, 30}}}},
    {{0, 70}, 4, 2, 16, {{{0, 9}, {60, 70}}, {{9, 60}}}},
    {{0, 5, 6, 38, 70}, 6, 3, 24, {{{38, 70}}, {{0, 5}, {30, 38}}, {{5, 30}}}},
    {{0, 2300}, 2, 1, 8, {{{0, 100}, {2250, 2300}}, {{100, 2250}}}},  // several chunks of queries and keys
};

/// The rows of a block, in one tensor.
at::Tensor rows_of(const at::Tensor& whole, const Ranges& ranges) {
  Tensors parts;
  for (const RowRange& range : ranges) parts.push_back(whole.narrow(0, range.begin, range.size()));
  return at::cat(parts, 0);
}

void add_rows(const at::Tensor& whole, const Ranges& ranges, const at::Tensor& part) {
  int64_t row = 0;
  for (const RowRange& range : ranges) {
    whole.narrow(0, range.begin, range.size()).add_(part.narrow(0, row, range.size()));
    row += range.size();
  }
}

/// Output and gradients over all blocks of keys, one after the other; {out, dq, dk, dv}, wide.
Tensors block_by_block(const BlockCase& c, const Tensors& x, const at::Tensor& dout, double scale) {
  const at::Tensor &q = x[0], &k = x[1], &v = x[2];
  const Ranges all = {{0, c.cu.back()}};
  AttentionState state = start_attention(q);
  for (const Ranges& keys : c.key_blocks)
    attend_block(state, q, rows_of(k, keys), rows_of(v, keys), attention_pieces(all, keys, c.cu), scale);
  const at::Tensor out = state.out.to(q.scalar_type());
  const AttentionQueries queries{q, out, dout, state.lse, row_delta(out, dout)};
  Tensors grads = {at::zeros_like(state.out), at::zeros(k.sizes(), state.out.options()),
                   at::zeros(v.sizes(), state.out.options())};
  for (const Ranges& keys : c.key_blocks) {
    const at::Tensor k_part = rows_of(k, keys);
    const at::Tensor dk = at::zeros(k_part.sizes(), state.out.options()), dv = at::zeros_like(dk);
    attend_block_backward(queries, k_part, rows_of(v, keys), attention_pieces(all, keys, c.cu), scale,
                          grads[0], dk, dv);
    add_rows(grads[1], keys, dk);
    add_rows(grads[2], keys, dv);
  }
  return {state.out, grads[0], grads[1], grads[2]};
}

void expect_blocks_equal_whole(at::ScalarType type) {
  for (const BlockCase& c : kBlockCases) {
    SCOPED_TRACE(testing::Message() << toString(type) << ", " << c.cu.back() << " tokens, " << c.heads << "/"
                                    << c.kv_heads << " heads");
    const int64_t n = c.cu.back();
    const Tensors x = test::leaves({at::randn({n, c.heads, c.dim}), at::randn({n, c.kv_heads, c.dim}),
                                    at::randn({n, c.kv_heads, c.dim})},
                                   type);
    const Tensors wide = test::leaves(x, at::kDouble);
    const at::Tensor dout = at::randn({n, c.heads, c.dim}).to(type);
    const at::Tensor whole = varlen_attention(wide[0], wide[1], wide[2], c.cu, 0.3);
    Tensors expected = torch::autograd::grad({whole}, wide, {dout.to(at::kDouble)});
    expected.insert(expected.begin(), whole);
    const at::NoGradGuard no_grad;
    const Tensors actual = block_by_block(c, x, dout, 0.3);
    for (size_t i = 0; i < expected.size(); ++i)
      test::expect_near(actual[i], expected[i], test::tolerance(type),
                        (const char*[]){"out", "dq", "dk", "dv"}[i]);
  }
}

TEST(AttentionBlock, BlocksOfKeysTogetherEqualAttentionOverAll) {
  at::manual_seed(2);
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) expect_blocks_equal_whole(type);
}

TEST(AttentionBlock, BlocksOfKeysTogetherEqualAttentionOverAllWithoutKernels) {
  at::manual_seed(3);
  for (const cpu::Isa& lesser : {cpu::Isa{.avx2 = cpu::isa().avx2}, cpu::Isa{}}) {
    const cpu::IsaOverride pretend(lesser);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) expect_blocks_equal_whole(type);
  }
}

TEST(AttentionBlock, RowsThatMeetNoKeyStayZeroWithALogSumExpOfMinusInfinity) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const at::Tensor q = at::randn({6, 2, 8}).to(type), k = at::randn({3, 1, 8}).to(type);
    AttentionState state = start_attention(q);
    const std::vector<AttentionPiece> pieces = attention_pieces({{0, 6}}, {{2, 5}}, {0, 6});
    for (int times = 0; times < 2; ++times) attend_block(state, q, k, k, pieces, 0.5);
    EXPECT_TRUE((state.lse.narrow(1, 0, 2) == -INFINITY).all().item<bool>());
    EXPECT_TRUE((state.out.narrow(0, 0, 2) == 0).all().item<bool>());
    EXPECT_TRUE(at::isfinite(state.lse.narrow(1, 2, 4)).all().item<bool>());
    EXPECT_TRUE(at::isfinite(state.out).all().item<bool>());

    const AttentionQueries queries{q, state.out.to(type), q, state.lse, row_delta(state.out.to(type), q)};
    const at::Tensor dq = at::zeros_like(state.out), dk = at::zeros({3, 1, 8}, dq.options()),
                     dv = at::zeros_like(dk);
    attend_block_backward(queries, k, k, pieces, 0.5, dq, dk, dv);
    EXPECT_TRUE((dq.narrow(0, 0, 2) == 0).all().item<bool>());
    for (const at::Tensor& grad : {dq, dk, dv}) EXPECT_TRUE(at::isfinite(grad).all().item<bool>());
  }
}

TEST(AttentionBlock, AFirstBlockThatHoldsAllKeysGivesTheBitsOfVarlenAttention) {
  if (!cpu::isa().avx2) GTEST_SKIP() << "no kernels for this machine";
  const std::vector<int32_t> cu = {0, 33, 64, 90};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor q = at::randn({90, 4, 32}).to(type), k = at::randn({90, 2, 32}).to(type);
    AttentionState state = start_attention(q);
    attend_block(state, q, k, k, attention_pieces({{0, 90}}, {{0, 90}}, cu), 0.2);
    const at::Tensor whole = varlen_attention(q, k, k, cu, 0.2);
    EXPECT_TRUE(at::equal(state.out.to(type), whole)) << toString(type);
  }
}

TEST(AttentionBlock, KernelsGiveTheSameBitsWithAnyNumberOfThreads) {
  if (!cpu::isa().avx2) GTEST_SKIP() << "no kernels for this machine";
  const BlockCase c{{0, 700, 1500}, 6, 3, 32, {{{0, 300}, {900, 1500}}, {{300, 900}}}};
  const int threads = at::get_num_threads();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Tensors x = {at::randn({1500, 6, 32}).to(type), at::randn({1500, 3, 32}).to(type),
                       at::randn({1500, 3, 32}).to(type)};
    at::set_num_threads(1);
    const Tensors one = block_by_block(c, x, x[0], 0.2);
    at::set_num_threads(4);
    const Tensors four = block_by_block(c, x, x[0], 0.2);
    at::set_num_threads(threads);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], four[i])) << toString(type) << i;
  }
}

TEST(AttentionBlock, LargeScoresDoNotOverflow) {
  const at::Tensor q = at::randn({20, 2, 16}, at::kFloat) * 1e3, k = at::randn({20, 2, 16}, at::kFloat) * 1e3;
  AttentionState state = start_attention(q);
  for (const RowRange keys : {RowRange{10, 20}, {0, 10}}) {
    const at::Tensor part = k.narrow(0, keys.begin, keys.size());
    attend_block(state, q, part, part, attention_pieces({{0, 20}}, {keys}, {0, 20}), 0.25);
  }
  test::expect_near(state.out, varlen_attention(q, k, k, {0, 20}, 0.25), {1e-3, 1e-3}, "one-hot rows");
}

}  // namespace
}  // namespace phalanx::ops
