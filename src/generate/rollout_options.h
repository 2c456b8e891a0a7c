#pragma once
#include <cstdint>

namespace phalanx::generate {

/// Section `rollout` of a config: how text is generated, by a training method or by `generate` and `chat`.
struct RolloutOptions {
  int64_t kv_cache_mb = 2048;
  int64_t max_batch_size = 32;
  int64_t prefill_tokens = 1024;
  bool batch_invariant = false;
};

}  // namespace phalanx::generate
