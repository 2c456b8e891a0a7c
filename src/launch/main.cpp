#include <algorithm>
#include <cstdio>
#include <cstring>

#include "comm/failure.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "ops/cpu/allocator.h"

namespace {

using phalanx::core::ExitCode;

/// The one place where an error that ends the program meets the terminal.
int report(std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const phalanx::core::Error& error) {
    std::fprintf(stderr, "%s\n", error.report().c_str());
    return static_cast<int>(error.code());
  } catch (...) {
    const phalanx::comm::Failure failure = phalanx::comm::describe_failure(exception, -1);
    std::fprintf(stderr, "error: %s\n", failure.message.c_str());
    return static_cast<int>(failure.code);
  }
}

}  // namespace

int main(int argc, char** argv) {
  phalanx::launch::set_command_line(argc, argv, PHALANX_VERSION);
  phalanx::ops::cpu::use_tensor_arena();
  CLI::App app{"Trains large language models over MPI ranks and exports them, verified.", "phalanx"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "phalanx " PHALANX_VERSION);
  std::function<int()> run;
  auto commands = phalanx::launch::commands();
  std::sort(commands.begin(), commands.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (const auto& command : commands) {
    CLI::App* subcommand = app.add_subcommand(command.name, command.help);
    auto body = command.declare(*subcommand);
    subcommand->callback([&run, body] { run = body; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "error: %s; see phalanx --help\n", error.what());
    return static_cast<int>(ExitCode::kBadConfig);
  }
  try {
    return run();
  } catch (...) {
    return report(std::current_exception());
  }
}
