#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/export_job.h"
#include "pipeline/pipeline_file.h"

/// What the stages that write a model (export, merge) have in common.
namespace phalanx::launch {

struct WriterKeys {
  std::string to = "hf";
  std::optional<std::string> outtype, imatrix_data;
  int64_t max_shard_bytes = static_cast<int64_t>(formats::kDefaultShardBytes);
};

/// Declares them as keys of `Options`, which has them in `member`.
template <typename Options>
void declare_writer_keys(core::SectionBuilder<Options>& s, WriterKeys Options::*member) {
  core::SectionBuilder<WriterKeys> w;
  w.field("to", &WriterKeys::to, {.help = "Format.", .one_of = output_format_names()});
  w.field("outtype", &WriterKeys::outtype,
          {.help = "Element type, as --outtype; without it the source's own."});
  w.field("imatrix_data", &WriterKeys::imatrix_data,
          {.help = "gguf, quantised types: text, or a file of llama-imatrix, that says which columns count.",
           .path = core::PathOf::kFile});
  w.field("max_shard_bytes", &WriterKeys::max_shard_bytes,
          {.help = "hf: most bytes of tensors in one file.", .unit = "bytes", .min = 1});
  for (core::Field& field : w.fields) s.fields.push_back(core::within(std::move(field), member));
}

ExportArguments writer_arguments(const WriterKeys& keys, const pipeline::Stage& stage);
/// "model" (a folder) or "model.gguf".
pipeline::Result written_result(const WriterKeys& keys);
void check_writer_keys(const WriterKeys& keys, const pipeline::Stage& stage,
                       std::vector<core::Problem>& problems);

}  // namespace phalanx::launch
