#include "trainer/cpo.h"
#include "trainer/dpo.h"
#include "trainer/kto.h"
#include "trainer/method.h"
#include "trainer/next_token.h"
#include "trainer/online/policy_method.h"
#include "trainer/prm.h"
#include "trainer/reward.h"

namespace phalanx::trainer {

const std::vector<MethodKind>& methods() {
  static const std::vector<MethodKind> all = [] {
    std::vector<MethodKind> kinds;
    for (const auto& family : {next_token_methods, dpo_methods, cpo_methods, kto_methods, reward_methods,
                               prm_methods, policy_methods}) {
      for (MethodKind& kind : family()) kinds.push_back(std::move(kind));
    }
    return kinds;
  }();
  return all;
}

}  // namespace phalanx::trainer
