#pragma once
#include <string>
#include <vector>

#include "core/config.h"
#include "launch/export_job.h"
#include "lora/combine.h"

namespace phalanx::launch {

struct NamedAdapter {
  std::string path;
  double weight = 1;
};

struct MergeJob {
  ExportArguments writing;  ///< `source` is filled in
  std::vector<NamedAdapter> adapters;
  lora::CombineOptions combine;
  bool has_options = false;  ///< of those that say how adapters are combined
};

/// The adapters into their base, or into one (writing.to peft), verified. @param config  its model.path is
/// the base; without it the one that the first adapter was trained on.
/// @return an exit code. @throws core::Error.
int merge_adapters(MergeJob job, const core::Config& config);

}  // namespace phalanx::launch
