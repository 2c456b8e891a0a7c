// --to hf: a Hugging Face folder.
#include "core/error.h"
#include "formats/gguf_mix.h"
#include "launch/export_check.h"
#include "launch/export_job.h"
#include "launch/writer_rank.h"

namespace phalanx::launch {
namespace {

void write_hf(ExportJob& job) {
  const std::string type = job.out_type();
  refuse_importance(job.arguments, type);
  const core::DType dtype = formats::gguf_mix(type).base;  // one name for a type in all formats
  if (core::is_quantised(dtype))
    core::fail(core::ExitCode::kBadConfig,
               "--outtype {} is for --to gguf; a Hugging Face folder takes f32, f16, bf16", type);
  publish_verified(
      job, type,
      [&](const std::filesystem::path& folder) {
        model::save_hf(folder, job.source.model(), job.source.weights(), dtype, job.arguments.max_shard_bytes,
                       writer_rank(job.group));
        if (job.is_first()) job.source.tokenizer().save_hf(folder.string());
      },
      [&](const std::filesystem::path& folder) {
        return verify_written(job, folder,
                              {job.source.rows(), [dtype](const std::string&) { return dtype; }});
      });
}

const bool hf_registered = register_output_format({.name = "hf", .write = write_hf});

}  // namespace
}  // namespace phalanx::launch
