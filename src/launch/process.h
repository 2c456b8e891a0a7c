#pragma once
#include <string>
#include <vector>

namespace phalanx::launch {

/// Runs a program to its end and returns its exit code, 75 when it was killed from outside.
///
/// SIGINT, SIGTERM and SIGUSR1 to this process reach it as SIGUSR1 ("finish the step, save, exit 75"), a
/// second SIGINT as `on_second_interrupt`. If this process is killed outright, it gets SIGUSR1 as well.
int run_process(const std::vector<std::string>& words, int on_second_interrupt);

/// Has one of these signals come since the first run_process()?
bool was_interrupted();

}  // namespace phalanx::launch
