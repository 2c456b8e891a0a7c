#include "ops/last_queries.h"

#include "ops/batch_invariant.h"
#include "ops/cpu/attention.h"

namespace phalanx::ops {

bool can_attend_last(const at::Tensor& q) {
  return q.is_cpu() && cpu::can_attend(q);
}

bool attention_widens(const at::Tensor& q) {
  return q.is_cpu() && cpu::attention_widens(q);
}

void attend_last(const std::vector<LastQueries>& samples, double scale) {
  if (samples.empty()) return;
  if (!cpu::can_attend(samples.front().q))
    BatchInvariant::refuse("attention has no kernel for this dtype on this machine");
  cpu::attend_last(samples, scale);
}

}  // namespace phalanx::ops
