#pragma once
#include <optional>
#include <string>
#include <vector>

/// What the program was started with. Only launch/ reads argv and the environment.
namespace phalanx::launch {

void set_command_line(int argc, char** argv, std::string version);
const std::vector<std::string>& command_line();
const std::string& program_version();
std::string program_path();  ///< absolute path of the running binary

std::optional<std::string> environment(const char* name);

}  // namespace phalanx::launch
