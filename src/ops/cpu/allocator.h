#pragma once
#include <cstddef>

/// Memory of CPU tensors. malloc returns the pages of a large tensor to the system and a fresh page costs
/// four times a rewrite; tensors of varying length (packed batches) also leave its heap in pieces that grow
/// from step to step. This allocator cuts large tensors from a few reserved address ranges (huge pages where
/// the system has them), joins freed neighbours, takes the smallest hole that fits and keeps all pages.
namespace phalanx::ops::cpu {

/// From now on all large CPU tensors come from it; tensors made before stay valid. False under
/// AddressSanitizer, which wants to see every tensor: then nothing changes.
bool use_tensor_arena();

/// Hands the pages of all holes back to the system: after a phase that needed more than the next one will
/// (loading a model).
void release_unused_tensor_memory();

struct ArenaBytes {
  size_t used = 0, held = 0;  ///< in live tensors; including holes, at the high-water mark
};
ArenaBytes tensor_arena_bytes();

}  // namespace phalanx::ops::cpu
