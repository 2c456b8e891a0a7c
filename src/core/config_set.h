#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/yaml_tree.h"

namespace phalanx::core {

/// Carries out one --set, "section.key=value" or "section.list.0.key=value", on the tree of the config file.
/// `set` is its index among all of them, for the positions of later messages.
void apply_set(YamlNode& root, std::string_view assignment, int set, std::vector<Problem>& problems);

struct Written {
  Position nearest;       ///< of the key, or of the nearest thing around it that is written down
  bool is_exact = false;  ///< the key itself is
  bool is_null = false;   ///< as null
};

/// Where "section.key", "section.list.0.key" or "section.list[0].key" is written.
Written find_written(const YamlNode& root, std::string_view key);

}  // namespace phalanx::core
