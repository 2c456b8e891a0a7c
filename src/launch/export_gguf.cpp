// --to gguf: the model, or with --adapter the adapter alone.
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "formats/gguf_mix.h"
#include "generate/importance.h"
#include "generate/tokenizer_metadata.h"
#include "launch/export_check.h"
#include "launch/export_job.h"
#include "launch/writer_rank.h"
#include "lora/gguf_adapter.h"
#include "model/gguf_weights.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
constexpr uint64_t kMaxCalibrationBytes = 64 << 20;

std::string name_of(const ExportJob& job) {
  return fs::path(job.arguments.destination).stem().string();
}

formats::GgufPairs gguf_metadata(const ExportJob& job) {
  formats::GgufPairs pairs;
  pairs.text("general.name", name_of(job));
  generate::add_tokenizer_keys(job.source.tokenizer(), job.source.config().vocab_size, pairs);
  return pairs;
}

model::Importance importance_of(const ExportJob& job, const formats::GgufMix& mix) {
  const ExportArguments& arguments = job.arguments;
  if (arguments.imatrix.empty()) return {};
  if (!core::is_quantised(mix.base) || mix.base == core::DType::kQ8_0)
    refuse_importance(arguments, std::string(mix.name));
  if (fs::path(arguments.imatrix).extension() == ".gguf")
    return generate::read_importance(arguments.imatrix, job.source.model());
  const std::string text = core::read_file(arguments.imatrix, kMaxCalibrationBytes);
  const std::vector<int32_t> ids = job.source.tokenizer().encode(text);
  if (ids.empty()) core::fail(ExitCode::kBadInput, "{}: holds no text to calibrate on", arguments.imatrix);
  model::Importance importance = generate::gather_importance(job.source.model(), ids);
  if (job.is_first())
    core::log_note("importance of the columns of {} matrices gathered on {} tokens", importance.size(),
                   ids.size());
  return importance;
}

void write_adapter_file(ExportJob& job) {
  refuse_importance(job.arguments, "an adapter");
  require_adapter(job, "--adapter");
  if (!job.arguments.outtype.empty() && job.arguments.outtype != "f32")
    core::fail(ExitCode::kBadConfig, "--outtype is {}, but an adapter is written as f32",
               job.arguments.outtype);
  job.source.hold_adapter();
  const model::CausalLm& model = job.source.model();
  const lora::Adapter& adapter = *job.source.adapter();
  publish_verified(
      job, "f32",
      [&](const fs::path& file) {
        formats::GgufPairs metadata;
        metadata.text("general.name", name_of(job));
        if (job.is_first()) lora::save_gguf_adapter(file, model, adapter, metadata);
      },
      [&](const fs::path& file) -> nlohmann::json {
        const std::string wrong = lora::first_difference_in_gguf_adapter(file, model, adapter);
        if (!wrong.empty())
          core::fail(ExitCode::kBug, "{}: read back, it is not its source: {}", job.arguments.destination,
                     wrong);
        if (job.is_first())
          core::log_note("verified: {} read back equals the adapter to the bit", job.arguments.destination);
        return {{"equals_source", true}};
      });
}

void write_gguf(ExportJob& job) {
  if (job.arguments.adapter_alone) return write_adapter_file(job);
  const std::string type = job.out_type();
  const formats::GgufMix& mix = formats::gguf_mix(type);
  const model::Importance importance = importance_of(job, mix);
  const auto types = model::gguf_types(job.source.model(), mix, !importance.empty());
  publish_verified(
      job, type,
      [&](const fs::path& file) {
        model::save_gguf(file, job.source.model(), job.source.weights(), mix, gguf_metadata(job), importance,
                         writer_rank(job.group));
      },
      [&](const fs::path& file) {
        return verify_written(job, file,
                              {model::gguf_weights(job.source.model(), job.source.rows()),
                               [&](const std::string& name) { return types.at(name); }, importance});
      });
}

const bool gguf_registered =
    register_output_format({.name = "gguf", .writes_adapter_alone = true, .write = write_gguf});

}  // namespace
}  // namespace phalanx::launch
