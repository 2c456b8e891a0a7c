#pragma once
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace phalanx::comm {

/// One test body, run by every rank of a group; the same on every backend and number of ranks.
struct CollectiveCase {
  std::string name;
  std::function<void(Communicator&)> body;
  bool host_only = false;  ///< tests what only the host backends promise
};

const std::vector<CollectiveCase>& collective_cases();

/// How GoogleTest and ctest name it in their lists.
inline void PrintTo(const CollectiveCase& test, std::ostream* out) {
  *out << test.name;
}

/// The tensor that `rank` brings to a test, in host memory: small whole numbers (all dtypes hold the results
/// of any order exactly), the same in every process.
at::Tensor example(int rank, int64_t numel, at::ScalarType dtype);

}  // namespace phalanx::comm
