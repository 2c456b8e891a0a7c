#pragma once
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/state.h"
#include "comm/communicator.h"

namespace phalanx::checkpoint {

struct LoadOptions {
  /// Tensors of the checkpoint that may stay unread because their name begins so ("optimizer." when only
  /// weights matter).
  std::vector<std::string> ignore_prefixes;
  int num_threads = 0;  ///< per rank; 0: as many as LibTorch computes with
};

/// Fills `slices[i].local` from a checkpoint that verify_checkpoint() found whole. Slices go by global name
/// and place, so they may be cut in any way, whatever ranks wrote the checkpoint; only the bytes that a slice
/// needs are read. Strict on both sides: every slice must be in the checkpoint with its dtype and global
/// shape, every tensor of the checkpoint must be read completely by the ranks together (or be ignored by
/// prefix). Collective.
/// @throws core::Error (65), the same on all ranks, listing what does not fit.
void load(comm::Communicator& ranks, const std::string& path, const Manifest& manifest,
          const std::vector<TensorSlice>& slices, const LoadOptions& options = {});

/// One whole tensor. Not collective.
at::Tensor load_tensor(const std::string& path, const Manifest& manifest, const std::string& name);

}  // namespace phalanx::checkpoint
