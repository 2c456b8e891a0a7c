#pragma once
#include <functional>

#include "comm/communicator.h"
#include "core/config.h"

namespace phalanx::launch {

/// Whether this process is one rank that mpirun or srun has started.
bool started_by_launcher();

/// Runs `body` on the ranks that section `parallel` of `config` asks for, with run.threads threads each. A
/// process that no launcher has started runs it alone where one rank is asked for; else it starts this same
/// command line again as so many ranks and waits for them. The error of a rank reaches the terminal once,
/// with its number, and releases the others.
/// @return  the exit code of the ranks. @throws core::Error (78) where the number of ranks does not fit.
int on_ranks(const core::Config& config, const std::function<int(comm::Communicator& group)>& body);

/// The same for a command that any number of ranks can share, whatever mesh: as many as a launcher has
/// started, else as section `parallel` asks for.
int on_any_ranks(const core::Config& config, const std::function<int(comm::Communicator& group)>& body);

}  // namespace phalanx::launch
