#include <fmt/ranges.h>

#include <map>

#include "core/error.h"
#include "model/causal_lm.h"

namespace phalanx::model {
namespace {

// Built on first use: families register themselves before main(), in any order.
std::map<std::string, Family>& registry() {
  static std::map<std::string, Family> families;
  return families;
}

}  // namespace

bool register_family(Family family) {
  const std::string name = family.name;
  return registry().emplace(name, std::move(family)).second;
}

const Family& find_family(const std::string& name) {
  const auto found = registry().find(name);
  if (found == registry().end()) {
    core::fail(core::ExitCode::kBadInput, "model family \"{}\" is not known; known are: {}",
               core::printable(name), fmt::join(family_names(), ", "));
  }
  return found->second;
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const auto& [name, family] : registry()) names.push_back(name);
  return names;
}

std::vector<std::string> family_architectures() {
  std::vector<std::string> names;
  for (const auto& [name, family] : registry()) names.push_back(family.architecture);
  return names;
}

}  // namespace phalanx::model
