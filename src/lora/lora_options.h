#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace phalanx::lora {

/// Section `lora`: train low-rank adapters and leave the weights alone. Without the section all weights are
/// trained.
struct LoraOptions {
  int64_t r = 16;
  double alpha = 32;
  double dropout = 0.0;
  std::vector<std::string> target_modules = {"all-linear"};
  bool use_rslora = false;
  bool use_dora = false;
  std::vector<std::string> modules_to_save = {};
  std::map<std::string, int64_t> rank_pattern =
      {};  ///< regular expression for the end of a module's path -> r
  std::map<std::string, double> alpha_pattern = {};
  std::optional<std::string> path = {};  ///< start from this adapter; r, alpha and targets are then its own
};

}  // namespace phalanx::lora
