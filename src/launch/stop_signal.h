#pragma once

namespace phalanx::launch {

/// SIGUSR1, SIGTERM and SIGINT ask a run to finish its step, save and exit 75. A second signal changes
/// nothing.
void install_stop_signals();
bool stop_requested();

}  // namespace phalanx::launch
