#include "launch/convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/gguf_mix.h"
#include "launch/command.h"
#include "launch/export_job.h"
#include "launch/ranks.h"

namespace phalanx::launch {
namespace {

int convert(const ExportArguments& arguments) {
  const core::Config config = core::Config::defaults(arguments.sets);
  return on_any_ranks(config, [&](comm::Communicator& group) {
    export_model(arguments, config, group);
    return 0;
  });
}

Command converter(const std::string& name, const std::string& help, const std::string& to) {
  return {name, help, [to](CLI::App& app) {
            auto arguments = std::make_shared<ExportArguments>();
            arguments->to = to;
            app.add_option("source", arguments->source,
                           "Hugging Face folder, .gguf file, adapter, checkpoint or run")
                ->required();
            app.add_option("destination", arguments->destination,
                           "Folder (hf, peft) or file (gguf); must not exist")
                ->required();
            app.add_option("--to", arguments->to, to_help());
            app.add_option("--outtype", arguments->outtype, outtype_help("source's"));
            add_writer_options(app, *arguments);
            app.add_flag("--adapter", arguments->adapter_alone,
                         "(gguf) The adapter alone, to load beside its base");
            add_set_option(app, arguments->sets);
            return [arguments] { return convert(*arguments); };
          }};
}

const bool export_registered =
    register_command(converter("export", "Writes a model in another format and verifies it", "hf"));
const bool import_registered =
    register_command(converter("import", "Turns any model into a Hugging Face folder and verifies it", "hf"));

}  // namespace

std::string outtype_help(const std::string& whose) {
  std::string quantised;
  for (const formats::GgufMix& mix : formats::gguf_mixes())
    if (core::is_quantised(mix.base))
      quantised += fmt::format("{}{}", quantised.empty() ? "" : ", ", mix.name);
  return fmt::format("f32, f16, bf16 or (gguf) {}; default: the {} own type, else bf16", quantised, whose);
}

std::string to_help() {
  return fmt::format("One of {}", fmt::join(output_format_names(), ", "));
}

void add_writer_options(CLI::App& app, ExportArguments& arguments) {
  app.add_option("--max-shard-bytes", arguments.max_shard_bytes,
                 "(hf) Most bytes of tensors in one file, unless one tensor has more")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--imatrix-data", arguments.imatrix,
                 "(gguf, quantised types) Text whose activations say which columns count, or a GGUF file of "
                 "llama-imatrix");
}

}  // namespace phalanx::launch
