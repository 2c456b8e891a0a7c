#include "comm/call.h"

namespace phalanx::comm {

const char* name(Kind kind) {
  switch (kind) {
    case Kind::kAllReduce:
      return "all_reduce";
    case Kind::kReduceScatter:
      return "reduce_scatter";
    case Kind::kAllGather:
      return "all_gather";
    case Kind::kAllToAll:
      return "all_to_all";
    case Kind::kBroadcast:
      return "broadcast";
    case Kind::kBarrier:
      return "barrier";
    case Kind::kSplit:
      return "split";
  }
  return "?";
}

std::string describe(const Call& call) {
  switch (call.kind) {
    case Kind::kBarrier:
    case Kind::kSplit:
      return name(call.kind);
    case Kind::kAllToAll:
      return fmt::format("all_to_all of {} elements", c10::toString(call.dtype));
    case Kind::kBroadcast:
      return fmt::format("broadcast of {} {} elements from rank {}", call.numel, c10::toString(call.dtype),
                         call.root);
    case Kind::kAllGather:
      return fmt::format("all_gather of {} {} elements", call.numel, c10::toString(call.dtype));
    default:
      break;
  }
  const char* op = call.op == ReduceOp::kSum ? "sum" : call.op == ReduceOp::kMax ? "max" : "min";
  return fmt::format("{} ({}) of {} {} elements", name(call.kind), op, call.numel, c10::toString(call.dtype));
}

void check_same(std::span<const Call> calls) {
  for (size_t rank = 1; rank < calls.size(); ++rank) {
    if (calls[rank] == calls[0]) continue;
    core::fail(core::ExitCode::kBug,
               "the ranks of a group have lost step: rank 0 of the group calls {} while rank {} calls {}",
               describe(calls[0]), rank, describe(calls[rank]));
  }
}

}  // namespace phalanx::comm
