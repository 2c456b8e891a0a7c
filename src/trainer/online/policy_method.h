#pragma once
#include <vector>

#include "trainer/method.h"

namespace phalanx::trainer {

/// grpo, rloo, reinforce_pp, ppo.
std::vector<MethodKind> policy_methods();

}  // namespace phalanx::trainer
