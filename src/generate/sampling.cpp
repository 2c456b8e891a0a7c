#include "generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "core/error.h"
#include "core/random.h"

namespace phalanx::generate {
namespace {

using core::ExitCode;
using core::fail;

struct Candidate {
  float logit;
  int32_t id;
  bool operator<(const Candidate& other) const {  // a heap's top is the likeliest; the lower id among equals
    return logit != other.logit ? logit < other.logit : id > other.id;
  }
};

void penalise_repetition(std::span<float> logits, std::span<const int32_t> history, double penalty) {
  if (penalty == 1.0) return;
  const float factor = static_cast<float>(penalty);
  for (const int32_t id : std::unordered_set<int32_t>(history.begin(), history.end())) {
    logits[id] = logits[id] > 0 ? logits[id] / factor : logits[id] * factor;
  }
}

// The candidates that the filters leave, most likely first, with weights exp((logit - max) / temperature).
struct Choice {
  std::vector<int32_t> ids;
  std::vector<double> weights;
  double total = 0;
};

std::vector<Candidate> top_candidates(std::span<const float> logits, int64_t top_k) {
  std::vector<Candidate> heap(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) heap[i] = {logits[i], static_cast<int32_t>(i)};
  if (top_k > 0 && top_k < static_cast<int64_t>(heap.size())) {
    const auto likelier = [](const Candidate& a, const Candidate& b) { return b < a; };
    std::nth_element(heap.begin(), heap.begin() + top_k, heap.end(), likelier);
    heap.resize(top_k);
  }
  return heap;
}

// Takes candidates off a heap, likeliest first, until top_p of `total_weight` is reached or min_p says stop:
// with a vocabulary of 50 000 and a handful of likely tokens this is far cheaper than sorting.
Choice filtered(std::vector<Candidate> heap, float max, const SamplingOptions& options) {
  const auto weight_of = [&](float logit) {
    return std::exp((static_cast<double>(logit) - max) / options.temperature);
  };
  double total_weight = 0;
  for (const Candidate& candidate : heap) total_weight += weight_of(candidate.logit);
  std::make_heap(heap.begin(), heap.end());
  Choice choice;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate next = heap.back();
    heap.pop_back();
    const double weight = weight_of(next.logit);
    const bool is_first = choice.ids.empty();
    if (!is_first && (weight < options.min_p || choice.total >= options.top_p * total_weight)) break;
    choice.ids.push_back(next.id);
    choice.weights.push_back(weight);
    choice.total += weight;
  }
  return choice;
}

}  // namespace

void SamplingOptions::validate() const {
  if (!(temperature >= 0))
    fail(ExitCode::kBadConfig, "temperature is {} but must be 0 (greedy) or more", temperature);
  if (top_k < 0) fail(ExitCode::kBadConfig, "top_k is {} but must be 0 (all tokens) or more", top_k);
  if (!(top_p > 0 && top_p <= 1))
    fail(ExitCode::kBadConfig, "top_p is {} but must be above 0 and at most 1", top_p);
  if (!(min_p >= 0 && min_p <= 1))
    fail(ExitCode::kBadConfig, "min_p is {} but must be between 0 and 1", min_p);
  if (!(repetition_penalty > 0)) {
    fail(ExitCode::kBadConfig, "repetition_penalty is {} but must be above 0; 1 switches it off",
         repetition_penalty);
  }
}

int32_t sample_token(std::span<float> logits, std::span<const int32_t> history,
                     const SamplingOptions& options, uint64_t sample, uint64_t position) {
  penalise_repetition(logits, history, options.repetition_penalty);
  const auto best = std::max_element(logits.begin(), logits.end());  // the first one among equals
  if (options.temperature == 0 || options.top_k == 1) return static_cast<int32_t>(best - logits.begin());
  const float max = *best;
  const Choice choice = filtered(top_candidates(logits, options.top_k), max, options);
  const double uniform =
      static_cast<double>(core::random_bits(options.seed, sample, position) >> 11) * 0x1p-53;
  double left = uniform * choice.total;
  for (size_t i = 0; i < choice.ids.size(); ++i) {
    left -= choice.weights[i];
    if (left < 0) return choice.ids[i];
  }
  return choice.ids.back();
}

}  // namespace phalanx::generate
