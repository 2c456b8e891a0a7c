#include "parallel/ulysses_attention.h"

#include "parallel/context_case.h"

namespace phalanx::parallel {
namespace {

using test::Case;
using test::Tensors;

ContextLayout ulysses_layout(const Case& c, int ranks) {
  return make_context_layout(ContextKind::kUlysses, c.cu, ranks);
}

std::vector<Case> ulysses_cases() {
  std::vector<Case> all;
  for (const std::vector<int32_t>& cu : test::kAxes) {
    all.push_back({cu, 8, 2, 8});    // with 4 ranks, each pair of ranks shares a key head
    all.push_back({cu, 4, 4, 16});   // a key head for every query head
    all.push_back({cu, 12, 4, 8});   // 3 ranks: 4 query heads read key heads 0 0 0 1, 1 1 2 2, 2 3 3 3
    all.push_back({cu, 12, 1, 24});  // one key head for all
  }
  return all;
}

template <class Check>
void for_each_case(at::ScalarType type, const Check& check) {
  for (const Case& c : ulysses_cases()) {
    const Tensors x = test::random_inputs(c, type);
    for (int ranks = 1; ranks <= 4; ++ranks) {
      if (c.heads % ranks != 0) continue;
      SCOPED_TRACE(test::name(c, ranks));
      check(c, x, test::over_ranks(ulysses_layout(c, ranks), x, ulysses_attention));
    }
  }
}

TEST(UlyssesAttention, EqualsSerialAttentionForwardAndBackwardInFp64) {
  for_each_case(at::kDouble, [](const Case& c, const Tensors& x, const Tensors& actual) {
    test::expect_equal(actual, test::serial(c, x), 1e-12);
  });
}

TEST(UlyssesAttention, EqualsSerialAttentionForwardAndBackwardInFp32) {
  for_each_case(at::kFloat, [](const Case& c, const Tensors& x, const Tensors& actual) {
    test::expect_equal(actual, test::serial(c, x), 1e-5);
  });
}

TEST(UlyssesAttention, EqualsSerialAttentionWithinTheRoundingOfBf16) {
  for_each_case(at::kBFloat16, [](const Case& c, const Tensors& x, const Tensors& actual) {
    test::expect_bf16_equal(c, actual, x);
  });
}

TEST(UlyssesAttention, GivesTheSameBitsInEveryRun) {
  const Case c{{0, 7, 150, 311}, 8, 2, 16};
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Tensors x = test::random_inputs(c, type);
    const Tensors first = test::over_ranks(ulysses_layout(c, 4), x, ulysses_attention);
    for (int repeat = 0; repeat < 5; ++repeat) {
      const Tensors again = test::over_ranks(ulysses_layout(c, 4), x, ulysses_attention);
      for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(at::equal(again[i], first[i])) << test::kNames[i];
    }
  }
}

TEST(UlyssesAttention, TheComparisonSeesSwappedHeads) {
  const Case c{{0, 96}, 4, 4, 16};
  const Tensors x = test::random_inputs(c, at::kDouble), expected = test::serial(c, x);
  const auto swapped = [](const at::Tensor& t) { return t.flip({1}); };
  const Tensors actual = test::over_ranks(
      ulysses_layout(c, 2), x,
      [&](const auto& q, const auto& k, const auto& v, const auto& layout, double scale, auto& group) {
        return ulysses_attention(q, swapped(k), v, layout, scale, group);
      });
  for (size_t i = 0; i < 4; ++i) EXPECT_GT(test::difference(actual[i], expected[i]), 1e-2) << test::kNames[i];
}

TEST(UlyssesAttention, SendsWhatItsFormulaSays) {
  const Case c{{0, 100, 1203}, 12, 12, 8};
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    const Tensors x = test::random_inputs(c, type);
    for (int ranks = 1; ranks <= 4; ++ranks) {
      std::vector<int64_t> sent;
      test::over_ranks(ulysses_layout(c, ranks), x, ulysses_attention, &sent);
      const double rows = static_cast<double>(c.cu.back()) / ranks, heads = 2.0 * c.heads + 2.0 * c.kv_heads;
      const double one_way = (ranks - 1.0) / ranks * rows * heads * c.dim * c10::elementSize(type);
      for (const int64_t bytes : sent) EXPECT_NEAR(static_cast<double>(bytes), 2 * one_way, 0.02 * one_way);
    }
  }
}

TEST(UlyssesHeads, ReadKeyHeadsThatEveryQueryHeadAgreesWith) {
  for (const auto& [queries, keys] : {std::pair{8, 2}, {12, 4}, {12, 12}, {12, 1}, {24, 3}, {30, 5}}) {
    for (int ranks = 1; ranks <= queries; ++ranks) {
      if (queries % ranks != 0) continue;
      for (int rank = 0; rank < ranks; ++rank) {
        const HeadShare share = ulysses_heads(queries, keys, ranks, rank);
        const auto runs = static_cast<int64_t>(share.key_of_run.size());
        ASSERT_EQ(share.num_queries % runs, 0);
        for (int64_t i = 0; i < share.num_queries; ++i) {
          const int64_t key = share.key_of_run[static_cast<size_t>(i * runs / share.num_queries)];
          ASSERT_EQ(share.first_key + key, (share.first_query + i) / (queries / keys));
          ASSERT_LT(key, share.num_keys);
        }
      }
    }
  }
}

TEST(UlyssesHeads, AreTheKeyHeadsThemselvesWhereRanksDivideThem) {
  const HeadShare share = ulysses_heads(16, 4, 2, 1);
  EXPECT_EQ(share.first_key, 2);
  EXPECT_EQ(share.num_keys, 2);
  EXPECT_EQ(share.key_of_run, (std::vector<int64_t>{0, 1}));
}

TEST(UlyssesAttention, RefusesRanksThatDoNotDivideTheQueryHeads) {
  EXPECT_EQ(ulysses_violation(8, 4), "");
  EXPECT_EQ(ulysses_violation(8, 3),
            "parallel.cp is 3 but must divide the query heads of a rank (model.num_attention_heads / "
            "parallel.tp) = 8 with Ulysses attention; try 1, 2, 4 or 8, or ring attention, which takes any");
  const Case c{{0, 9}, 4, 2, 8};
  const Tensors x = test::random_inputs(c, at::kFloat);
  try {
    test::over_ranks(ulysses_layout(c, 3), x, ulysses_attention);
    FAIL() << "three ranks for four heads";
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("parallel.cp is 3"), std::string::npos) << error.what();
  }
}

TEST(UlyssesAttention, RefusesTheLayoutOfARing) {
  const Case c{{0, 16}, 4, 2, 8};
  EXPECT_THROW(test::over_ranks(make_context_layout(ContextKind::kRing, c.cu, 2),
                                test::random_inputs(c, at::kFloat), ulysses_attention),
               std::exception);
}

}  // namespace
}  // namespace phalanx::parallel
