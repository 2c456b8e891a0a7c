#include "generate/rollout_options.h"

#include "core/config.h"

namespace phalanx::generate {
namespace {

[[maybe_unused]] const bool rollout_registered = core::register_section<RolloutOptions>(
    "rollout", "How text is generated: in training and by generate and chat.",
    [](core::SectionBuilder<RolloutOptions>& s) {
      using O = RolloutOptions;
      s.field(
          "kv_cache_mb", &O::kv_cache_mb,
          {.help = "Keys and values of the sequences that are being generated, on each rank; sequences that "
                   "find no room wait.",
           .unit = "MiB",
           .min = 1});
      s.field("max_batch_size", &O::max_batch_size,
              {.help = "Sequences that one copy of the model generates at a time; the others wait.",
               .unit = "sequences",
               .min = 1});
      s.field(
          "prefill_tokens", &O::prefill_tokens,
          {.help = "Tokens of prompts that join the sequences at work in one forward; longer prompts come in "
                   "chunks.",
           .unit = "tokens",
           .min = 1});
      s.field(
          "batch_invariant", &O::batch_invariant,
          {.help =
               "A token's probability has the same bits whatever else is in the batch, and as the training "
               "step sees it; costs some speed."});
    });

}  // namespace
}  // namespace phalanx::generate
