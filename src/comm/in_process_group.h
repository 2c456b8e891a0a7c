#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/failure.h"

namespace phalanx::comm {

/// The ranks of a new group of threads. run_ranks is the usual way to use it.
struct InProcessRanks {
  std::vector<std::unique_ptr<Communicator>> communicators;  ///< in rank order, each for one thread
  std::function<void(Failure)> fail;                         ///< releases all ranks, from outside of them
  std::function<std::string()> waiting;                      ///< "rank 0 waits in all_reduce, rank 2 in recv"
};

InProcessRanks make_in_process_ranks(int num_ranks);

}  // namespace phalanx::comm
