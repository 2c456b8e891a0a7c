#pragma once
#include <functional>
#include <stdexcept>
#include <string>

#include "comm/communicator.h"
#include "core/error.h"

namespace phalanx::checkpoint {

/// A phase failed on at least one rank; every rank of the group throws this with the same text and code.
class PhaseFailed : public core::Error {
 public:
  using Error::Error;
};

/// Runs `body` on every rank of the group, then lets all ranks agree on how it went. A rank's exception never
/// keeps it from the agreement, so no rank waits for one that has failed. Collective: every rank calls it
/// with the same `phase`. StorageError becomes code 74, core::Error keeps its code, anything else is 70; the
/// largest code of all ranks wins.
/// @throws PhaseFailed "PHASE: rank 1: MESSAGE; rank 3: ..."; what the communicator throws passes through.
void agree(comm::Communicator& ranks, const std::string& phase, const std::function<void()>& body);

}  // namespace phalanx::checkpoint
