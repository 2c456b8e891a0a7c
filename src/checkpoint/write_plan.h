#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "checkpoint/state.h"
#include "comm/communicator.h"

namespace phalanx::checkpoint {

struct PlannedPiece {
  size_t tensor;  ///< index in WritePlan::tensors
  Box box;
  int writer;                ///< the rank that writes it
  std::vector<int> holders;  ///< all ranks that have it in memory
  uint64_t size_bytes;
};

struct PlannedTensor {
  std::string name;
  core::DType dtype;
  std::vector<int64_t> shape;
};

/// Who writes what: the same value on every rank.
struct WritePlan {
  std::vector<PlannedTensor> tensors;  ///< sorted by name
  std::vector<PlannedPiece> pieces;    ///< sorted by tensor, then place
  std::vector<uint64_t> rank_bytes;    ///< what each rank writes

  uint64_t total_bytes() const;
};

/// Collects what every rank has and spreads it: a slice that one rank holds is written by it; one that
/// several hold is cut along its first dimension (if it is large) and given to the least loaded of them, so
/// all ranks write at once. Collective. @throws core::Error (70), the same on all ranks, naming the tensor:
/// overlapping slices, gaps, different shapes or types of one name, scalars that differ between ranks.
WritePlan make_write_plan(comm::Communicator& ranks, const State& state);

/// Finds the slice of this rank that holds a box. The slices must outlive it.
class SliceIndex {
 public:
  explicit SliceIndex(const std::vector<TensorSlice>& slices);
  const TensorSlice* find(const std::string& name, const Box& box) const;  ///< nullptr if none

 private:
  std::unordered_map<std::string, std::vector<const TensorSlice*>> by_name_;
};

}  // namespace phalanx::checkpoint
