#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace phalanx::launch {

/// One subcommand of the program. `declare` adds its arguments to `app` and returns what runs it; the
/// returned function gives the exit code and may throw core::Error.
struct Command {
  std::string name;
  std::string help;
  std::function<std::function<int()>(CLI::App& app)> declare;
};

bool register_command(Command command);
const std::vector<Command>& commands();

/// --set KEY=VALUE, repeated, as every command takes it.
void add_set_option(CLI::App& app, std::vector<std::string>& sets);

}  // namespace phalanx::launch
