#include "parallel/context_layout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

namespace phalanx::parallel {
namespace {

using Ranges = std::vector<ops::RowRange>;

/// Scores that each rank computes over all steps of the ring.
std::vector<int64_t> scores_per_rank(const ContextLayout& layout) {
  std::vector<int64_t> scores(layout.num_ranks());
  for (int rank = 0; rank < layout.num_ranks(); ++rank) {
    for (int other = 0; other < layout.num_ranks(); ++other) {
      for (const ops::AttentionPiece& piece : layout.pieces(rank, other)) scores[rank] += piece.num_scores();
    }
  }
  return scores;
}

double imbalance(const std::vector<int64_t>& scores) {
  const auto total = static_cast<double>(std::accumulate(scores.begin(), scores.end(), int64_t{0}));
  return static_cast<double>(*std::max_element(scores.begin(), scores.end())) * scores.size() / total;
}

TEST(ContextLayout, RingGivesEachRankAChunkFromEachEnd) {
  const ContextLayout layout = make_context_layout(ContextKind::kRing, {0, 5, 16}, 2);
  EXPECT_EQ(layout.ranges[0], (Ranges{{0, 4}, {12, 16}}));
  EXPECT_EQ(layout.ranges[1], (Ranges{{4, 12}}));  // chunks 1 and 2 are neighbours
}

TEST(ContextLayout, UlyssesGivesContiguousParts) {
  const ContextLayout layout = make_context_layout(ContextKind::kUlysses, {0, 5, 16}, 3);
  EXPECT_EQ(layout.ranges, (std::vector<Ranges>{{{0, 6}}, {{6, 11}}, {{11, 16}}}));
}

TEST(ContextLayout, HoldsEveryRowOnceInPartsThatDifferByOneAtMost) {
  for (const ContextKind kind : {ContextKind::kRing, ContextKind::kUlysses}) {
    for (int ranks = 1; ranks <= 5; ++ranks) {
      for (int32_t tokens = 0; tokens <= 47; ++tokens) {
        const ContextLayout layout = make_context_layout(kind, {0, tokens}, ranks);
        const at::Tensor whole = at::arange(3 * tokens, at::kLong).view({tokens, 3});
        std::vector<at::Tensor> parts;
        for (int rank = 0; rank < ranks; ++rank) {
          parts.push_back(layout.select(whole, rank));
          EXPECT_EQ(parts.back().size(0), layout.num_rows(rank));
          EXPECT_LE(std::abs(layout.num_rows(rank) - layout.num_rows(0)), 1) << tokens << " over " << ranks;
        }
        EXPECT_TRUE(at::equal(at::cat(parts, 0).index_select(0, layout.gather_order()), whole));
      }
    }
  }
}

TEST(ContextLayout, RingSharesTheScoresOfALongSampleEvenly) {
  for (int ranks : {2, 3, 4, 8}) {
    const std::vector<int64_t> scores =
        scores_per_rank(make_context_layout(ContextKind::kRing, {0, 1003}, ranks));
    EXPECT_EQ(std::accumulate(scores.begin(), scores.end(), int64_t{0}), 1003 * 1004 / 2);
    EXPECT_LE(imbalance(scores), 1.1) << ranks << " ranks";
  }
}

TEST(ContextLayout, ContiguousPartsWouldNotShareThemEvenly) {  // the measure above sees an imbalance
  EXPECT_GT(imbalance(scores_per_rank(make_context_layout(ContextKind::kUlysses, {0, 1003}, 4))), 1.7);
}

TEST(ContextLayout, RanksWithoutACommonSampleHaveNothingToCompute) {
  const ContextLayout layout = make_context_layout(ContextKind::kRing, {0, 4, 8, 12, 16}, 2);
  EXPECT_TRUE(layout.pieces(0, 1).empty());
  EXPECT_TRUE(layout.pieces(1, 0).empty());
  EXPECT_EQ(layout.pieces(0, 0).size(), 2u);
}

TEST(ContextLayout, RefusesBoundariesAndTensorsThatDoNotFit) {
  EXPECT_THROW(make_context_layout(ContextKind::kRing, {}, 2), c10::Error);
  EXPECT_THROW(make_context_layout(ContextKind::kRing, {1, 4}, 2), c10::Error);
  EXPECT_THROW(make_context_layout(ContextKind::kRing, {0, 4, 3}, 2), c10::Error);
  EXPECT_THROW(make_context_layout(ContextKind::kRing, {0, 4}, 0), c10::Error);
  EXPECT_THROW(make_context_layout(ContextKind::kRing, {0, 4}, 2).select(at::zeros({5}), 0), c10::Error);
}

}  // namespace
}  // namespace phalanx::parallel
