#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/state.h"
#include "comm/communicator.h"

namespace phalanx::checkpoint {

/// A global tensor as the ranks hold it together: each distinct slice once, with the ranks that have it
/// (ascending).
struct SharedTensor {
  core::DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::pair<Box, std::vector<int>>> slices;
};

/// What all ranks list, by name; the same on every rank. Collective.
/// @throws core::Error (70), the same on all ranks: a bad name, a slice listed twice by one rank, ranks that
/// disagree on
///         the type or shape of a name.
std::map<std::string, SharedTensor> gather_slices(comm::Communicator& ranks,
                                                  const std::vector<TensorSlice>& slices);

}  // namespace phalanx::checkpoint
