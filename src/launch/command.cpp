#include "launch/command.h"

namespace phalanx::launch {
namespace {

std::vector<Command>& table() {
  static std::vector<Command> commands;
  return commands;
}

}  // namespace

bool register_command(Command command) {
  table().push_back(std::move(command));
  return true;
}

const std::vector<Command>& commands() {
  return table();
}

void add_set_option(CLI::App& app, std::vector<std::string>& sets) {
  app.add_option("--set", sets, "Overrides one config key: section.key=value; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace phalanx::launch
