#pragma once
#include <string>
#include <vector>

#include "pipeline/references.h"

namespace phalanx::pipeline {

/// A stage as it is written, over what it takes of `defaults`: maps key by key, anything else whole. Keys
/// that neither the kind nor the run config knows, and sections that the kind does not read, go to
/// `problems`.
core::YamlNode stage_tree(const core::YamlNode& written, const core::YamlNode& defaults,
                          const StageKind& kind, const std::string& stage,
                          std::vector<core::Problem>& problems);

}  // namespace phalanx::pipeline
