#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>
#include <string>

#include "comm/communicator.h"

namespace phalanx::comm {

enum class Kind : int32_t { kAllReduce, kReduceScatter, kAllGather, kAllToAll, kBroadcast, kBarrier, kSplit };

/// What all ranks of a group must agree on in one collective call. Plain data: it also lies in shared memory.
struct Call {
  Kind kind = Kind::kBarrier;
  c10::ScalarType dtype = c10::ScalarType::Byte;
  ReduceOp op = ReduceOp::kSum;
  int32_t root = 0;
  int64_t numel = 0;  ///< per rank: of the tensor, or of the smaller of input and output; 0 for all_to_all

  bool operator==(const Call&) const = default;
};

const char* name(Kind kind);             ///< "all_reduce", ...
std::string describe(const Call& call);  ///< "all_reduce of 10 Float elements"

/// @throws core::Error naming two ranks and their calls when they are not all the same: the ranks have lost
/// step.
void check_same(std::span<const Call> calls);

}  // namespace phalanx::comm
