#include "checkpoint/environment.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/core.h>
#include <torch/version.h>

namespace phalanx::checkpoint {

nlohmann::ordered_json current_environment() {
  return {{"libtorch", TORCH_VERSION},
          {"compiler", __VERSION__},
          {"cpu_capability", at::get_cpu_capability()},
          {"num_threads", at::get_num_threads()}};
}

std::vector<std::string> environment_differences(const nlohmann::ordered_json& saved) {
  std::vector<std::string> lines;
  const nlohmann::ordered_json now = current_environment();
  for (const auto& [key, value] : now.items()) {
    const auto it = saved.find(key);
    if (it == saved.end()) {
      lines.push_back(
          fmt::format("{} is {} but was not noted when the checkpoint was written", key, value.dump()));
    } else if (*it != value) {
      lines.push_back(
          fmt::format("{} is {} but was {} when the checkpoint was written", key, value.dump(), it->dump()));
    }
  }
  return lines;
}

}  // namespace phalanx::checkpoint
