#include "launch/export_job.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "formats/gguf_mix.h"
#include "generate/unverified.h"
#include "launch/loaded_model.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;

std::vector<OutputFormat>& output_formats() {
  static std::vector<OutputFormat> formats;
  return formats;
}

/// What was written, as verification.json begins.
nlohmann::json begun_record(const ExportArguments& arguments, const std::string& type) {
  nlohmann::json entry = {{"source", arguments.source}, {"format", arguments.to}, {"type", type}};
  if (!arguments.imatrix.empty()) entry["importance"] = arguments.imatrix;
  return entry;
}

}  // namespace

bool register_output_format(OutputFormat format) {
  output_formats().push_back(std::move(format));
  return true;
}

std::vector<std::string> output_format_names() {
  std::vector<std::string> names;
  for (const OutputFormat& format : output_formats()) names.push_back(format.name);
  std::sort(names.begin(), names.end());
  return names;
}

const OutputFormat& find_output_format(const std::string& name) {
  for (const OutputFormat& format : output_formats())
    if (format.name == name) return format;
  core::fail(ExitCode::kBadConfig, "--to is {}; known are {}", core::printable(name, 40),
             fmt::join(output_format_names(), ", "));
}

std::string ExportJob::out_type() const {
  if (!arguments.outtype.empty()) return arguments.outtype;
  const core::DType own = source.source().files.dtype();
  return own == core::DType::kF32 ? "f32" : own == core::DType::kF16 ? "f16" : "bf16";
}

void publish_verified(ExportJob& job, const std::string& type,
                      const std::function<void(const fs::path&)>& write,
                      const std::function<nlohmann::json(const fs::path&)>& verify) {
  generate::Unverified made(job.arguments.destination, job.is_first());
  job.group.barrier();  // what an earlier process left is gone
  write(made.path());
  job.group.barrier();
  if (job.after_writing && job.is_first()) job.after_writing(made.path());
  job.group.barrier();
  nlohmann::json record = begun_record(job.arguments, type);
  record.update(verify(made.path()));
  if (job.is_first()) made.publish(record);
  job.group.barrier();  // nobody removes it before it has its name
}

void refuse_importance(const ExportArguments& arguments, const std::string& type) {
  if (!arguments.imatrix.empty())
    core::fail(ExitCode::kBadConfig,
               "--imatrix-data is for the quantised types of --to gguf, which search for scales; {} does not",
               type);
}

void require_adapter(const ExportJob& job, const std::string& writer) {
  if (!job.source.adapter())
    core::fail(ExitCode::kBadInput, "{}: has no adapter, which {} writes; use --to hf or gguf",
               job.arguments.source, writer);
}

void check_arguments(const ExportArguments& arguments) {
  const OutputFormat& format = find_output_format(arguments.to);
  if (!arguments.outtype.empty()) formats::gguf_mix(arguments.outtype);  // known
  if (arguments.adapter_alone && !format.writes_adapter_alone)
    core::fail(ExitCode::kBadConfig, "--adapter is for --to gguf; --to peft always writes the adapter alone");
  generate::refuse_existing(arguments.destination);
}

void export_model(const ExportArguments& arguments, const core::Config& config, comm::Communicator& group,
                  const std::function<void(const fs::path&)>& after_writing) {
  check_arguments(arguments);
  export_source(open_model(arguments.source, config), arguments, group, after_writing);
}

void export_source(generate::ModelSource source, const ExportArguments& arguments, comm::Communicator& group,
                   const std::function<void(const fs::path&)>& after_writing) {
  group.barrier();  // every rank has looked for the destination before the first makes it
  ExportJob job{arguments, group, generate::StreamedModel(std::move(source)), after_writing};
  find_output_format(arguments.to).write(job);
}

}  // namespace phalanx::launch
