#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "label/verdict.h"

namespace phalanx::label {

/// Cohen's kappa (Cohen 1960, "A coefficient of agreement for nominal scales"):
///
///     kappa = (p_o - p_e) / (1 - p_e),   p_e = sum over categories of p(first says k) p(second says k)
///
/// @param ratings  of each item the category that either rater chose.
/// @return  nothing without items, or where both always say the same one category (p_e = 1).
std::optional<double> cohen_kappa(const std::vector<std::pair<int, int>>& ratings);

/// Fleiss' kappa (Fleiss 1971, "Measuring nominal scale agreement among many raters"); where items have
/// different numbers of ratings, with each item's share n_ik / n_i (Gwet 2014), which is the same where they
/// do not:
///
///     P_i = sum_k n_ik (n_ik - 1) / (n_i (n_i - 1)),   p_k = mean over i of n_ik / n_i
///     kappa = (mean P_i - sum_k p_k^2) / (1 - sum_k p_k^2)
///
/// @param counts  [items][categories]: how many raters said k; items with fewer than two ratings are left
/// out.
/// @return  nothing where it is not defined, as above.
std::optional<double> fleiss_kappa(const std::vector<std::vector<int>>& counts);

struct LabellerSummary {
  std::string name;
  int64_t num_verdicts[5] = {};           ///< by Verdict: first, second, tie, both_bad, skip
  int64_t num_choices = 0, num_left = 0;  ///< how often the answer that stood left was chosen
  int64_t num_edited = 0;
  double median_seconds = 0;
};

struct PairAgreement {  ///< of two labellers, over the pairs that both judged
  std::string first, second;
  int64_t num_pairs = 0, num_equal = 0;
  std::optional<double> kappa;
};

/// Categories are first, second, tie and both_bad; a skipped pair has no rating.
struct Agreement {
  std::vector<LabellerSummary> labellers;  ///< by name
  std::vector<PairAgreement> pairs;        ///< every two labellers
  int64_t num_rated_twice = 0;             ///< pairs that at least two labellers judged
  std::optional<double> fleiss;            ///< over those
};

Agreement measure_agreement(const StandingAnswers& standing);
core::Json to_json(const Agreement& agreement);
std::string to_text(const Agreement& agreement);  ///< tables for a terminal

}  // namespace phalanx::label
