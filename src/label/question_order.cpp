#include "label/question_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/hash.h"
#include "core/random.h"

namespace phalanx::label {

std::vector<size_t> question_order(const std::vector<AnswerPair>& pairs, const std::string& labeller,
                                   const OrderOptions& options) {
  std::vector<size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (options.order == "random") {
    const uint64_t stream = core::substream(core::stream_id("label.order"), core::xxh3_64(labeller));
    for (size_t i = 0; i < order.size(); ++i)
      order[i] = static_cast<size_t>(core::permute(options.seed, stream, pairs.size(), i));
  } else if (options.order == "uncertain") {
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::abs(pairs[a].margin.value()) < std::abs(pairs[b].margin.value());
    });
  }
  return order;
}

bool is_first_left(const std::string& pair_id, const std::string& labeller, uint64_t seed) {
  const uint64_t stream = core::substream(core::stream_id("label.side"), core::xxh3_64(labeller));
  return (core::random_bits(seed, stream, core::xxh3_64(pair_id)) & 1) != 0;
}

}  // namespace phalanx::label
