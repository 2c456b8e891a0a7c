#include "launch/written_model.h"

#include "core/error.h"
#include "formats/gguf_mix.h"

namespace phalanx::launch {

ExportArguments writer_arguments(const WriterKeys& keys, const pipeline::Stage& stage) {
  ExportArguments arguments;
  arguments.destination = stage.result_path();
  arguments.to = keys.to;
  arguments.outtype = keys.outtype.value_or("");
  arguments.imatrix = keys.imatrix_data.value_or("");
  arguments.max_shard_bytes = static_cast<uint64_t>(keys.max_shard_bytes);
  return arguments;
}

pipeline::Result written_result(const WriterKeys& keys) {
  return {keys.to == "gguf" ? "model.gguf" : "model",
          keys.to == "peft" ? core::PathOf::kAdapter : core::PathOf::kModel};
}

void check_writer_keys(const WriterKeys& keys, const pipeline::Stage& stage,
                       std::vector<core::Problem>& problems) {
  if (!keys.outtype) return;
  try {
    formats::gguf_mix(*keys.outtype);
  } catch (const core::Error& error) {
    problems.push_back({stage.position("outtype"), error.what()});
  }
}

}  // namespace phalanx::launch
