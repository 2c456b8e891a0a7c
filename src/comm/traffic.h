#pragma once
#include <cstdint>

namespace phalanx::comm {

/// Bytes that one rank of `size` sends in a ring algorithm (rounded down). `bytes` is the size of the whole
/// tensor:
///
///     all_reduce      2 (N-1)/N bytes     (a reduce_scatter and an all_gather)
///     reduce_scatter    (N-1)/N bytes     of the input, size() x output
///     all_gather        (N-1)/N bytes     of the output, size() x input
///     broadcast         (N-1)/N bytes     the mean over the ranks: all but the last of the ring pass the
///     tensor on all_to_all      bytes that leave this rank, its own part not counted send            bytes
///     of the tensor; recv and barrier count calls and no bytes
inline int64_t all_reduce_bytes(int64_t bytes, int size) {
  return 2 * bytes * (size - 1) / size;
}
inline int64_t one_way_bytes(int64_t bytes, int size) {
  return bytes * (size - 1) / size;
}

}  // namespace phalanx::comm
