#include "label/agreement.h"

#include "label/label_test_util.h"

namespace phalanx::label {
namespace {

using Ratings = std::vector<std::pair<int, int>>;

void add(Ratings& ratings, int count, int first, int second) {
  ratings.insert(ratings.end(), static_cast<size_t>(count), {first, second});
}

// Both examples are common textbook tables of 50 and 100 items.
TEST(Agreement, CohenKappaOfPublishedTables) {
  Ratings grants;  // yes/yes 20, yes/no 5, no/yes 10, no/no 15
  add(grants, 20, 0, 0), add(grants, 5, 0, 1), add(grants, 10, 1, 0), add(grants, 15, 1, 1);
  EXPECT_NEAR(*cohen_kappa(grants), 0.4, 1e-12);
  Ratings first;  // equal agreement, other margins: 0.1304 and 0.2593
  add(first, 45, 0, 0), add(first, 15, 0, 1), add(first, 25, 1, 0), add(first, 15, 1, 1);
  EXPECT_NEAR(*cohen_kappa(first), 0.1304, 5e-5);
  Ratings second;
  add(second, 25, 0, 0), add(second, 35, 0, 1), add(second, 5, 1, 0), add(second, 35, 1, 1);
  EXPECT_NEAR(*cohen_kappa(second), 0.2593, 5e-5);
}

TEST(Agreement, CohenKappaAtItsEdges) {
  EXPECT_FALSE(cohen_kappa({}));
  EXPECT_FALSE(cohen_kappa({{1, 1}, {1, 1}})) << "chance alone agrees always";
  EXPECT_NEAR(*cohen_kappa({{0, 0}, {1, 1}, {2, 2}}), 1, 1e-12);
  EXPECT_NEAR(*cohen_kappa({{0, 1}, {1, 0}}), -1, 1e-12);
}

/// 14 raters, 10 subjects, 5 categories; kappa 0.210.
TEST(Agreement, FleissKappaOfAPublishedTable) {
  const std::vector<std::vector<int>> counts = {
      {0, 0, 0, 0, 14}, {0, 2, 6, 4, 2}, {0, 0, 3, 5, 6}, {0, 3, 9, 2, 0}, {2, 2, 8, 1, 1},
      {7, 7, 0, 0, 0},  {3, 2, 6, 3, 0}, {2, 5, 3, 2, 2}, {6, 5, 2, 1, 0}, {0, 2, 2, 3, 7}};
  EXPECT_NEAR(*fleiss_kappa(counts), 0.210, 5e-4);
}

TEST(Agreement, FleissKappaAtItsEdges) {
  EXPECT_FALSE(fleiss_kappa({}));
  EXPECT_FALSE(fleiss_kappa({{1, 0}, {0, 1}})) << "nothing was rated twice";
  EXPECT_FALSE(fleiss_kappa({{3, 0}, {2, 0}}));
  EXPECT_NEAR(*fleiss_kappa({{3, 0}, {0, 2}}), 1, 1e-12) << "numbers of raters may differ";
}

TEST(Agreement, CountsWhatStandsAndLeavesSkipsOut) {
  StandingAnswers standing;
  const auto say = [&](const std::string& labeller, const std::string& pair, Verdict verdict,
                       bool first_left) {
    Answer answer = test::make_answer(labeller, pair, verdict);
    answer.first_left = first_left;
    standing.add(answer);
  };
  say("ann", "1", Verdict::kFirst, true);
  say("ann", "2", Verdict::kSecond, true);
  say("ann", "3", Verdict::kTie, true);
  say("ann", "4", Verdict::kSkip, true);
  say("ann", "5", Verdict::kFirst, false);
  say("ann", "5", Verdict::kUndo, false);
  say("bob", "1", Verdict::kFirst, false);
  say("bob", "2", Verdict::kFirst, true);
  say("bob", "2", Verdict::kSecond, true);
  say("bob", "3", Verdict::kBothBad, true);
  say("bob", "4", Verdict::kFirst, true);
  const Agreement agreement = measure_agreement(standing);
  ASSERT_EQ(agreement.labellers.size(), 2u);
  EXPECT_EQ(agreement.labellers[0].num_choices, 2);
  EXPECT_EQ(agreement.labellers[0].num_left, 1);
  EXPECT_EQ(agreement.labellers[1].num_left, 1);
  ASSERT_EQ(agreement.pairs.size(), 1u);
  EXPECT_EQ(agreement.pairs[0].num_pairs, 3);
  EXPECT_EQ(agreement.pairs[0].num_equal, 2);
  EXPECT_NEAR(*agreement.pairs[0].kappa, (2 / 3. - 2 / 9.) / (1 - 2 / 9.), 1e-12);
  EXPECT_EQ(agreement.num_rated_twice, 3);
  EXPECT_TRUE(test::contains(to_text(agreement), "ann and bob: 3 pairs, 66.7 % equal, Cohen's kappa 0.571"));
  EXPECT_EQ(to_json(agreement)["agreement"][0]["equal"], 2);
}

}  // namespace
}  // namespace phalanx::label
