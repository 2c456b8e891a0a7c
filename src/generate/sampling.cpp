#include "generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "core/error.h"
#include "core/random.h"
#include "core/vector_clones.h"

namespace phalanx::generate {
namespace {

using core::ExitCode;
using core::fail;

constexpr size_t kBlock = 256;      // weights that are added up together
constexpr float kFarBelow = 20.0F;  // e^-20: what is further below the best is seldom within top_p

void penalise_repetition(std::span<float> logits, std::span<const int32_t> history, double penalty) {
  if (penalty == 1.0) return;
  const float factor = static_cast<float>(penalty);
  for (const int32_t id : std::unordered_set<int32_t>(history.begin(), history.end())) {
    logits[id] = logits[id] > 0 ? logits[id] / factor : logits[id] * factor;
  }
}

// In lanes, so that the loop becomes vectors.
PHX_VECTOR_CLONES float largest_of(const float* values, size_t count) {
  constexpr size_t kLanes = 32;
  float lanes[kLanes];
  for (float& lane : lanes) lane = values[0];
  const size_t whole = count - count % kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
  }
  for (size_t i = whole; i < count; ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
  return *std::max_element(lanes, lanes + kLanes);
}

// logits[i] = e^((logits[i] - max) / temperature); returns the sum of each block of kBlock in `sums`. e^x is
// 2^n times a polynomial of the rest, so that the loop becomes vectors.
PHX_VECTOR_CLONES void exponentials(float* logits, size_t count, float max, float per_temperature,
                                    double* sums) {
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t end = std::min(count, begin + kBlock);
    for (size_t i = begin; i < end; ++i) {
      float t = (logits[i] - max) * per_temperature * 1.44269504088896341F;
      t = t < -120.0F ? -120.0F : t;
      const float n = (t + 12582912.0F) - 12582912.0F, f = t - n;
      float p = 1.54035304e-4F;
      p = p * f + 1.33335581e-3F;
      p = p * f + 9.61812911e-3F;
      p = p * f + 5.55041087e-2F;
      p = p * f + 2.40226507e-1F;
      p = p * f + 6.93147182e-1F;
      p = p * f + 1.0F;
      const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
      float power;
      __builtin_memcpy(&power, &exponent, sizeof(power));
      logits[i] = p * power;
    }
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += static_cast<double>(logits[i]);
    sums[begin / kBlock] = sum;
  }
}

/// Weights of all tokens, not normalised, and their sums.
struct Weights {
  std::span<const float> of;
  std::vector<double> block_sums;
  double total = 0;
};

Weights token_weights(std::span<float> logits, float max, double temperature) {
  Weights weights{logits, std::vector<double>((logits.size() + kBlock - 1) / kBlock), 0};
  exponentials(logits.data(), logits.size(), max, static_cast<float>(1.0 / temperature),
               weights.block_sums.data());
  for (const double sum : weights.block_sums) weights.total += sum;
  return weights;
}

// The token in whose share of the total `left` falls, in the order of the ids.
int32_t draw_from_all(const Weights& weights, double left) {
  size_t block = 0;
  while (block + 1 < weights.block_sums.size() && left >= weights.block_sums[block])
    left -= weights.block_sums[block++];
  const size_t end = std::min(weights.of.size(), (block + 1) * kBlock);
  int32_t last = 0;
  for (size_t i = block * kBlock; i < end; ++i) {
    if (weights.of[i] == 0) continue;
    last = static_cast<int32_t>(i);
    left -= static_cast<double>(weights.of[i]);
    if (left < 0) break;
  }
  return last;
}

struct Candidate {
  float weight;
  int32_t id;
  bool operator<(const Candidate& other) const {  // a heap's top is the likeliest; the lower id among equals
    return weight != other.weight ? weight < other.weight : id > other.id;
  }
};

std::vector<Candidate> candidates_above(const Weights& weights, float least) {
  std::vector<Candidate> found;
  for (size_t i = 0; i < weights.of.size(); ++i) {
    if (weights.of[i] >= least) found.push_back({weights.of[i], static_cast<int32_t>(i)});
  }
  return found;
}

double sum_of(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += static_cast<double>(candidate.weight);
  return sum;
}

void keep_likeliest(std::vector<Candidate>& candidates, int64_t top_k) {
  if (top_k == 0 || top_k >= static_cast<int64_t>(candidates.size())) return;
  const auto likelier = [](const Candidate& a, const Candidate& b) { return b < a; };
  std::nth_element(candidates.begin(), candidates.begin() + top_k, candidates.end(), likelier);
  candidates.resize(static_cast<size_t>(top_k));
}

// The fewest candidates, likeliest first, that reach `enough` together; of a heap, because with a vocabulary
// of 50 000 and a handful of likely tokens this is far cheaper than sorting.
std::vector<Candidate> first_to_reach(std::vector<Candidate> heap, double enough) {
  std::make_heap(heap.begin(), heap.end());
  std::vector<Candidate> chosen;
  for (double sum = 0; !heap.empty() && (chosen.empty() || sum < enough);) {
    std::pop_heap(heap.begin(), heap.end());
    chosen.push_back(heap.back());
    sum += static_cast<double>(heap.back().weight);
    heap.pop_back();
  }
  return chosen;
}

// Weights are at most 1, so min_p is a weight; top_p is a share of what top_k leaves.
std::vector<Candidate> filtered(const Weights& weights, const SamplingOptions& options) {
  const auto least = static_cast<float>(options.min_p);
  std::vector<Candidate> left;
  double total = weights.total;
  if (options.top_k == 0) {
    left = candidates_above(weights, std::max(least, std::exp(-kFarBelow)));
    if (sum_of(left) < options.top_p * total) left = candidates_above(weights, least);
  } else {
    left = candidates_above(weights, 0);
    keep_likeliest(left, options.top_k);
    total = sum_of(left);
    std::erase_if(left, [&](const Candidate& candidate) { return candidate.weight < least; });
  }
  return first_to_reach(std::move(left), options.top_p * total);
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
                     const SamplingOptions& options, const SampleKey& key) {
  penalise_repetition(logits, history, options.repetition_penalty);
  const float largest = largest_of(logits.data(), logits.size());
  if (options.temperature == 0 || options.top_k == 1) {
    const auto best = std::find(logits.begin(), logits.end(), largest);  // the first one among equals
    return best == logits.end() ? 0 : static_cast<int32_t>(best - logits.begin());  // none: no number at all
  }
  const uint64_t stream = core::substream(
      core::substream(core::substream(core::stream_id("sampling"), key.step), key.prompt), key.sample);
  const double uniform = core::random_uniform(options.seed, stream, history.size());
  const Weights weights = token_weights(logits, largest, options.temperature);
  if (options.top_k == 0 && options.top_p == 1.0 && options.min_p == 0.0)
    return draw_from_all(weights, uniform * weights.total);
  const std::vector<Candidate> choice = filtered(weights, options);
  double left = uniform * sum_of(choice);
  for (const Candidate& candidate : choice) {
    left -= static_cast<double>(candidate.weight);
    if (left < 0) return candidate.id;
  }
  return choice.back().id;
}

}  // namespace phalanx::generate
