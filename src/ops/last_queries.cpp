#include "ops/last_queries.h"

#include <ATen/ATen.h>

#include "ops/batch_invariant.h"
#include "ops/cpu/attention.h"

namespace phalanx::ops {

void attend_last(const std::vector<LastQueries>& samples, double scale) {
  if (samples.empty()) return;
  if (!cpu::can_attend(samples.front().q))
    BatchInvariant::refuse("attention has no kernel for this dtype on this machine");
  std::vector<cpu::AttentionSample> parts;
  for (const LastQueries& sample : samples) {
    const int64_t num_queries = sample.q.size(0);
    const at::Tensor lse = at::empty({sample.q.size(1), num_queries}, sample.q.options().dtype(at::kFloat));
    parts.push_back({sample.q, sample.k, sample.v, sample.out, lse, sample.k.size(0) - num_queries});
  }
  cpu::attend(parts, scale);
}

}  // namespace phalanx::ops
