// --to peft: the adapter alone.
#include "core/error.h"
#include "core/log.h"
#include "launch/export_check.h"
#include "launch/export_job.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
constexpr generate::Limits kExact = {1e-6, 0.99};

nlohmann::json verify_adapter(const ExportJob& job, const fs::path& folder) {
  generate::OpenOptions on_base;
  on_base.base = job.source.source().files.path().string();
  const generate::StreamedModel written(generate::open_model(folder, on_base));
  const generate::Comparison same = compare_on_texts(job.source, written, job.group);
  if (same.max_difference > kMaxLogprobDifference)
    core::fail(ExitCode::kBug, "{}: read back, it differs from its source by {:.2e} nats",
               job.arguments.destination, same.max_difference);
  if (job.is_first()) core::log_note("verified: {} read back: {}", job.arguments.destination, describe(same));
  nlohmann::json result = comparison_json(same, kExact);
  result["limits"]["max_logprob_difference"] = kMaxLogprobDifference;
  return result;
}

void write_peft(ExportJob& job) {
  refuse_importance(job.arguments, "an adapter");
  require_adapter(job, "--to peft");
  publish_verified(
      job, "f32",
      [&](const fs::path& folder) {
        if (!job.is_first()) return;
        const auto stored = [&](const std::string& name) {
          return job.source.stored()(name, 0, job.source.model().parameter(name).size(0));
        };
        lora::save_adapter(folder, *job.source.adapter(), stored, core::DType::kF32,
                           fs::absolute(job.source.source().files.path()).string());
        job.source.tokenizer().save_hf(folder.string());
      },
      [&](const fs::path& folder) { return verify_adapter(job, folder); });
}

const bool peft_registered = register_output_format({.name = "peft", .write = write_peft});

}  // namespace
}  // namespace phalanx::launch
