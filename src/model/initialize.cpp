#include "model/initialize.h"

#include <c10/core/GradMode.h>

#include "model/keyed_random.h"
#include "model/parameter.h"

namespace phalanx::model {

void initialize(CausalLm& model, uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (auto& [name, parameter] : all_parameters(model)) {
    if (name.ends_with(".bias")) {
      parameter.zero_();
    } else if (parameter.dim() == 1) {
      parameter.fill_(1.0);
    } else {
      fill_normal(parameter, model.config().initializer_range, seed, name);
    }
  }
}

}  // namespace phalanx::model
