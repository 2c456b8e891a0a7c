#include "label/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "core/error.h"

namespace phalanx::label {
namespace {

constexpr size_t kNumCategories = 4;  // first, second, tie, both_bad

std::optional<double> above_chance(double observed, double expected) {
  if (1 - expected < 1e-12) return std::nullopt;
  return (observed - expected) / (1 - expected);
}

bool is_rating(const Answer& answer) {
  return static_cast<size_t>(answer.verdict) < kNumCategories;
}

using Ratings = std::map<std::string, int>;  // pair -> category

PairAgreement compare(const std::string& first, const Ratings& by_first, const std::string& second,
                      const Ratings& by_second) {
  PairAgreement result = {first, second, 0, 0, {}};
  std::vector<std::pair<int, int>> both;
  for (const auto& [pair, category] : by_first) {
    const auto other = by_second.find(pair);
    if (other == by_second.end()) continue;
    both.emplace_back(category, other->second);
    result.num_equal += category == other->second ? 1 : 0;
  }
  result.num_pairs = static_cast<int64_t>(both.size());
  result.kappa = cohen_kappa(both);
  return result;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::vector<LabellerSummary> summarise(const StandingAnswers& standing) {
  std::map<std::string, LabellerSummary> summaries;
  std::map<std::string, std::vector<double>> seconds;
  for (const auto& [place, answer] : standing.by_time()) {
    LabellerSummary& summary = summaries[answer.labeller];
    summary.name = answer.labeller;
    ++summary.num_verdicts[static_cast<size_t>(answer.verdict)];
    seconds[answer.labeller].push_back(answer.seconds);
    if (!is_choice(answer.verdict)) continue;
    ++summary.num_choices;
    summary.num_left += (answer.verdict == Verdict::kFirst) == answer.first_left ? 1 : 0;
    summary.num_edited += answer.row.contains("edited") ? 1 : 0;
  }
  std::vector<LabellerSummary> list;
  for (auto& [name, summary] : summaries) {
    summary.median_seconds = median(seconds[name]);
    list.push_back(summary);
  }
  return list;
}

core::Json number_or_null(const std::optional<double>& value) {
  return value ? core::Json(*value) : core::Json();
}

std::string kappa_text(const std::optional<double>& kappa) {
  return kappa ? fmt::format("{:.3f}", *kappa) : "undefined";
}

double percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::optional<double> cohen_kappa(const std::vector<std::pair<int, int>>& ratings) {
  if (ratings.empty()) return std::nullopt;
  const double total = static_cast<double>(ratings.size());
  std::map<int, double> by_first, by_second;
  double observed = 0, expected = 0;
  for (const auto& [first, second] : ratings) {
    by_first[first] += 1 / total;
    by_second[second] += 1 / total;
    observed += first == second ? 1 / total : 0;
  }
  for (const auto& [category, share] : by_first) {
    const auto other = by_second.find(category);
    if (other != by_second.end()) expected += share * other->second;
  }
  return above_chance(observed, expected);
}

std::optional<double> fleiss_kappa(const std::vector<std::vector<int>>& counts) {
  double observed = 0, num_items = 0;
  std::vector<double> shares;
  for (const std::vector<int>& item : counts) {
    const double n = std::accumulate(item.begin(), item.end(), 0);
    if (n < 2) continue;
    num_items += 1;
    shares.resize(std::max(shares.size(), item.size()));
    for (size_t k = 0; k < item.size(); ++k) {
      observed += item[k] * (item[k] - 1) / (n * (n - 1));
      shares[k] += item[k] / n;
    }
  }
  if (num_items == 0) return std::nullopt;
  double expected = 0;
  for (const double share : shares) expected += (share / num_items) * (share / num_items);
  return above_chance(observed / num_items, expected);
}

Agreement measure_agreement(const StandingAnswers& standing) {
  Agreement agreement;
  agreement.labellers = summarise(standing);
  std::map<std::string, Ratings> by_labeller;
  std::map<std::string, std::vector<int>> by_pair;
  for (const auto& [place, answer] : standing.by_time()) {
    if (!is_rating(answer)) continue;
    by_labeller[answer.labeller][answer.pair] = static_cast<int>(answer.verdict);
    auto& counts = by_pair[answer.pair];
    counts.resize(kNumCategories);
    ++counts[static_cast<size_t>(answer.verdict)];
  }
  for (auto first = by_labeller.begin(); first != by_labeller.end(); ++first) {
    for (auto second = std::next(first); second != by_labeller.end(); ++second)
      agreement.pairs.push_back(compare(first->first, first->second, second->first, second->second));
  }
  std::vector<std::vector<int>> counts;
  for (const auto& [pair, of_pair] : by_pair) {
    if (std::accumulate(of_pair.begin(), of_pair.end(), 0) >= 2) counts.push_back(of_pair);
  }
  agreement.num_rated_twice = static_cast<int64_t>(counts.size());
  agreement.fleiss = fleiss_kappa(counts);
  return agreement;
}

core::Json to_json(const Agreement& agreement) {
  core::Json labellers = core::Json::array(), pairs = core::Json::array();
  for (const LabellerSummary& one : agreement.labellers) {
    core::Json json = {{"name", one.name}};
    for (size_t v = 0; v < std::size(one.num_verdicts); ++v)
      json[std::string(name(static_cast<Verdict>(v)))] = one.num_verdicts[v];
    json.update({{"choices", one.num_choices},
                 {"left", one.num_left},
                 {"edited", one.num_edited},
                 {"median_seconds", one.median_seconds}});
    labellers.push_back(json);
  }
  for (const PairAgreement& one : agreement.pairs) {
    pairs.push_back({{"first", one.first},
                     {"second", one.second},
                     {"pairs", one.num_pairs},
                     {"equal", one.num_equal},
                     {"cohen_kappa", number_or_null(one.kappa)}});
  }
  return {{"labellers", labellers},
          {"agreement", pairs},
          {"rated_twice", agreement.num_rated_twice},
          {"fleiss_kappa", number_or_null(agreement.fleiss)}};
}

std::string to_text(const Agreement& agreement) {
  std::string text = fmt::format("{:<20} {:>6} {:>6} {:>6} {:>9} {:>6} {:>7} {:>7} {:>9}\n", "labeller",
                                 "first", "second", "tie", "both bad", "skip", "edited", "left", "median");
  for (const LabellerSummary& one : agreement.labellers) {
    text += fmt::format("{:<20} {:>6} {:>6} {:>6} {:>9} {:>6} {:>7} {:>6.0f}% {:>7.1f} s\n",
                        core::printable(one.name, 20), one.num_verdicts[0], one.num_verdicts[1],
                        one.num_verdicts[2], one.num_verdicts[3], one.num_verdicts[4], one.num_edited,
                        percent(one.num_left, one.num_choices), one.median_seconds);
  }
  if (!agreement.pairs.empty()) text += "\n";
  for (const PairAgreement& one : agreement.pairs) {
    text += fmt::format("{} and {}: {} pairs, {:.1f} % equal, Cohen's kappa {}\n",
                        core::printable(one.first, 40), core::printable(one.second, 40), one.num_pairs,
                        percent(one.num_equal, one.num_pairs), kappa_text(one.kappa));
  }
  if (agreement.labellers.size() > 2) {
    text += fmt::format("all: {} pairs judged by two or more, Fleiss' kappa {}\n", agreement.num_rated_twice,
                        kappa_text(agreement.fleiss));
  }
  return text;
}

}  // namespace phalanx::label
