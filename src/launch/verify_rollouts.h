#pragma once
#include <CLI/CLI.hpp>
#include <functional>

namespace phalanx::launch {

/// `verify rollouts`: adds its arguments, those of `generate`, to `app` and returns what runs it.
std::function<int()> declare_verify_rollouts(CLI::App& app);  // generate.cpp

}  // namespace phalanx::launch
