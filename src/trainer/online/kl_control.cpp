#include "trainer/online/kl_control.h"

#include <algorithm>

namespace phalanx::trainer {

void KlControl::update(double kl, double num_answers) {
  if (!options_.is_adaptive) return;
  const double error = std::clamp(kl / options_.target - 1, -0.2, 0.2);
  beta_ *= 1 + error * num_answers / options_.horizon;
}

}  // namespace phalanx::trainer
