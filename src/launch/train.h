#pragma once
#include "core/config.h"

namespace phalanx::launch {

/// The training that `config` describes, on the ranks it asks for. @return its exit code. @throws
/// core::Error.
int train_as(const core::Config& config);

}  // namespace phalanx::launch
