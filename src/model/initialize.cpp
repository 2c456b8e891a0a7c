#include "model/initialize.h"

#include <c10/core/GradMode.h>

#include "model/keyed_random.h"
#include "model/parameter.h"

namespace phalanx::model {

void initialize(CausalLm& model, at::ScalarType dtype, uint64_t seed) {
  const at::NoGradGuard no_grad;
  const NamedParts parts = model.named_parts();
  for (auto& [name, parameter] : all_parameters(model)) {
    if (is_allocated(parameter)) continue;
    const auto part = parts.find(name);
    const at::IntArrayRef sizes =
        part == parts.end() ? parameter.sizes() : at::IntArrayRef(part->second.shape);
    const std::vector<int64_t> own = parameter.sizes().vec();
    at::Tensor whole = at::empty(sizes, dtype);
    if (name.ends_with(".bias")) {
      whole.zero_();
    } else if (whole.dim() == 1) {
      whole.fill_(find_family(model.config().model_type).initial_norm_weight);
    } else {
      fill_normal(whole, model.config().initializer_range, seed, name);
    }
    parameter.set_data(whole);
    if (part != parts.end()) set_to_part(parameter, part->second.offset, own);
  }
}

}  // namespace phalanx::model
