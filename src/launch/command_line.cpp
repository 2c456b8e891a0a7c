#include "launch/command_line.h"

#include <cstdlib>
#include <filesystem>
#include <utility>

namespace phalanx::launch {
namespace {

std::vector<std::string>& arguments() {
  static std::vector<std::string> stored;
  return stored;
}

std::string& version_text() {
  static std::string stored;
  return stored;
}

}  // namespace

void set_command_line(int argc, char** argv, std::string version) {
  arguments().assign(argv, argv + argc);
  version_text() = std::move(version);
}
const std::vector<std::string>& command_line() {
  return arguments();
}
const std::string& program_version() {
  return version_text();
}
std::string program_path() {
  return std::filesystem::read_symlink("/proc/self/exe").string();
}

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (!value) return std::nullopt;
  return value;
}

}  // namespace phalanx::launch
