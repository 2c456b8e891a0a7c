#include "model/kv_cache.h"

#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "model/golden_case.h"
#include "ops/batch_invariant.h"

namespace phalanx::model {
namespace {

TEST(PagePool, TakesUsedPagesFirstAndFreesWhatNobodyHolds) {
  PagePool pool(3);
  EXPECT_EQ(pool.take(), 0);
  EXPECT_EQ(pool.take(), 1);
  pool.share(0);
  pool.release(0);
  EXPECT_EQ(pool.holders(0), 1);
  EXPECT_EQ(pool.num_free(), 1);
  pool.release(0);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_EQ(pool.take(), 0);
  EXPECT_EQ(pool.take(), 2);
  EXPECT_EQ(pool.high_water(), 3);
  EXPECT_THROW(pool.take(), std::length_error);
}

class PagedCache : public ::testing::Test {
 protected:
  void SetUp() override { whole_ = model_->hidden(make_input(ids_, {40})); }

  /// Tokens [begin, end) of the text through entry `entry`; the largest difference from a whole forward.
  double feed(KvCache& cache, int64_t entry, int64_t begin, int64_t end) {
    ModelInput part{ids_.slice(0, begin, end).to(at::kLong), at::arange(begin, end, at::kLong), {0}};
    for (int64_t e = 0; e < cache.num_entries(); ++e)
      part.cu_seqlens.push_back(part.cu_seqlens.back() +
                                (e == entry ? static_cast<int32_t>(end - begin) : 0));
    return max_difference(model_->hidden_cached(part, cache), whole_.slice(0, begin, end));
  }

  const at::NoGradGuard no_grad_;
  std::shared_ptr<CausalLm> model_ = load_model(golden_path("untied"), at::kFloat);
  at::Tensor ids_ = at::arange(40) % 48, whole_;
};

TEST_F(PagedCache, TakesAPageWhenTokensReachItAndFreesItOnTruncation) {
  KvCache cache(1, {.page_tokens = 8});
  EXPECT_LT(feed(cache, 0, 0, 10), 2e-5);
  EXPECT_EQ(cache.pool().num_held(), 2);
  EXPECT_LT(feed(cache, 0, 10, 35), 2e-5);
  EXPECT_EQ(cache.pool().num_held(), 5);
  cache.truncate(0, 16);
  EXPECT_EQ(cache.pool().num_held(), 2);
  EXPECT_LT(feed(cache, 0, 16, 40), 2e-5);
  EXPECT_GT(cache.memory_bytes(), 0);
  cache.clear(0);
  EXPECT_EQ(cache.pool().num_held(), 0);
}

TEST_F(PagedCache, SharesPagesUntilOneOfTheHoldersWrites) {
  KvCache cache(3, {.page_tokens = 8});
  feed(cache, 0, 0, 20);
  cache.share(0, 1);
  cache.share(0, 2);
  EXPECT_EQ(cache.pool().num_held(), 3);
  EXPECT_LT(feed(cache, 1, 20, 22), 2e-5);  // copies the page of tokens 16 to 19
  EXPECT_EQ(cache.pool().num_held(), 4);
  EXPECT_EQ(cache.pages(1)[1], cache.pages(0)[1]);
  EXPECT_NE(cache.pages(1)[2], cache.pages(0)[2]);
  EXPECT_LT(feed(cache, 2, 20, 40), 2e-5);
  EXPECT_EQ(cache.pool().num_held(), 7);
  cache.clear(0);  // the first two pages live on
  EXPECT_EQ(cache.pool().num_held(), 6);
  EXPECT_LT(feed(cache, 1, 22, 40), 2e-5);
  EXPECT_LT(feed(cache, 0, 0, 40), 2e-5);
}

TEST_F(PagedCache, ALastHolderWritesWithoutACopy) {
  KvCache cache(2, {.page_tokens = 8});
  feed(cache, 0, 0, 12);
  cache.share(0, 1);
  const std::vector<int64_t> pages = cache.pages(0);
  cache.clear(0);
  EXPECT_LT(feed(cache, 1, 12, 16), 2e-5);
  EXPECT_EQ(cache.pages(1), pages);
}

TEST_F(PagedCache, RefusesTokensBeyondItsPages) {
  KvCache cache(2, {.page_tokens = 8, .max_pages = 3});
  feed(cache, 0, 0, 16);
  EXPECT_THROW(feed(cache, 1, 0, 9), std::length_error);
}

TEST_F(PagedCache, HoldsMorePagesThanOneSlab) {
  KvCache cache(2, {.page_tokens = 2});
  EXPECT_LT(feed(cache, 0, 0, 31), 2e-5);  // 16 pages: a slab
  cache.share(0, 1);
  EXPECT_LT(feed(cache, 1, 31, 40), 2e-5);  // a copy of the last one, in another slab
  EXPECT_LT(feed(cache, 0, 31, 40), 2e-5);
}

TEST_F(PagedCache, IsExactUnderBatchInvarianceHoweverTheTextIsCut) {
  const ops::BatchInvariant scope;
  whole_ = model_->hidden(make_input(ids_, {40}));
  KvCache cache(2, {.page_tokens = 8});
  for (const auto& [begin, end] : {std::pair(0, 1), {1, 9}, {9, 10}, {10, 33}, {33, 40}})
    EXPECT_EQ(feed(cache, 1, begin, end), 0) << begin;
}

}  // namespace
}  // namespace phalanx::model
