// phalanx merge BASE ADAPTER[=WEIGHT]... DST: adapters into their base, or several into one.
#include "launch/merge.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "core/log.h"
#include "launch/command.h"
#include "launch/convert.h"
#include "launch/loaded_model.h"
#include "launch/ranks.h"
#include "lora/combine.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;

struct MergeArguments {
  MergeJob job;
  std::string base, majority_sign = "total";
  std::vector<std::string> paths;  // adapters, then the destination
};

/// "runs/a=0.5": the weight stands behind the last "=" unless there is a file of that whole name.
NamedAdapter parse_adapter(const std::string& text) {
  const size_t at = text.rfind('=');
  if (at == std::string::npos || fs::exists(text)) return {text};
  const std::string number = text.substr(at + 1);
  double weight = 0;
  const auto [end, status] = std::from_chars(number.data(), number.data() + number.size(), weight);
  if (status != std::errc() || end != number.data() + number.size() || !std::isfinite(weight))
    core::fail(ExitCode::kBadConfig,
               "{}: \"{}\" is no weight; an adapter is PATH or PATH=WEIGHT, as in runs/a=0.5",
               core::printable(text), core::printable(number, 40));
  return {text.substr(0, at), weight};
}

lora::MajoritySign parse_majority(const std::string& name) {
  if (name == "total") return lora::MajoritySign::kTotal;
  if (name == "frequency") return lora::MajoritySign::kFrequency;
  core::fail(ExitCode::kBadConfig, "--majority-sign is {}; known are total, frequency",
             core::printable(name, 40));
}

lora::AdapterFiles adapter_of(const generate::ModelSource& source, const NamedAdapter& named) {
  if (!source.adapter)
    core::fail(ExitCode::kBadInput,
               "{}: is no adapter; merge takes BASE, adapters and DESTINATION in this order", named.path);
  return *source.adapter;
}

/// The base under one adapter made of all.
generate::ModelSource combined_model(const std::vector<NamedAdapter>& adapters,
                                     const lora::CombineOptions& options, const core::Config& config) {
  generate::ModelSource source = open_model(adapters[0].path, config);
  std::vector<lora::WeightedAdapter> parts;
  for (const NamedAdapter& named : adapters)
    parts.push_back({adapter_of(open_model(named.path, config), named), named.weight});
  source.adapter = lora::combine(parts, source.files.config(), options);
  return source;
}

std::string described(const std::vector<NamedAdapter>& adapters, const std::string& method) {
  std::vector<std::string> parts;
  for (const NamedAdapter& named : adapters) parts.push_back(fmt::format("{}={}", named.path, named.weight));
  return fmt::format("{} of {}", method, fmt::join(parts, " + "));
}

int merge(MergeArguments arguments) {
  MergeJob& job = arguments.job;
  job.writing.destination = arguments.paths.back();
  arguments.paths.pop_back();
  for (const std::string& path : arguments.paths) job.adapters.push_back(parse_adapter(path));
  job.writing.sets.push_back("model.path=" + arguments.base);
  job.combine.majority = parse_majority(arguments.majority_sign);
  return merge_adapters(job, core::Config::defaults(job.writing.sets));
}

[[maybe_unused]] const bool merge_registered = register_command(
    {"merge",
     "Merges one or several weighted ADAPTERs into BASE, or into one adapter, and verifies the result",
     [](CLI::App& app) {
       auto arguments = std::make_shared<MergeArguments>();
       app.add_option("base", arguments->base, "Hugging Face folder or .gguf file")->required();
       app.add_option(
              "adapters-and-destination", arguments->paths,
              "PEFT folders or runs, each with =WEIGHT where it is not 1; last the folder (hf, peft) or "
              "file (gguf) to write, which must not exist")
           ->required()
           ->expected(2, 1000);
       app.add_option("--to", arguments->job.writing.to, "hf, gguf or peft (one adapter made of all)");
       app.add_option("--outtype", arguments->job.writing.outtype, outtype_help("base's"));
       const std::vector<CLI::Option*> options = {
           app.add_option("--method", arguments->job.combine.method,
                          fmt::format("How several adapters become one: {}; cat is the exact weighted sum",
                                      fmt::join(lora::combine_methods(), ", "))),
           app.add_option("--density", arguments->job.combine.density,
                          "(ties, dare, magnitude_prune) Share of elements kept"),
           app.add_option("--seed", arguments->job.combine.seed, "(dare) Which elements are kept"),
           app.add_option("--svd-rank", arguments->job.combine.svd_rank,
                          "(svd) Rank of the result; default: the largest"),
           app.add_option("--majority-sign", arguments->majority_sign, "(ties) total or frequency")};
       add_writer_options(app, arguments->job.writing);
       add_set_option(app, arguments->job.writing.sets);
       return [arguments, options] {
         for (const CLI::Option* option : options) arguments->job.has_options |= option->count() > 0;
         return merge(*arguments);
       };
     }});

}  // namespace

int merge_adapters(MergeJob job, const core::Config& config) {
  const std::vector<NamedAdapter>& adapters = job.adapters;
  const bool is_plain = adapters.size() == 1 && adapters[0].weight == 1 && !job.has_options;
  job.writing.source = is_plain ? adapters[0].path : described(adapters, job.combine.method);
  return on_any_ranks(config, [&](comm::Communicator& group) {
    check_arguments(job.writing);
    generate::ModelSource source =
        is_plain ? open_model(adapters[0].path, config) : combined_model(adapters, job.combine, config);
    adapter_of(source, adapters[0]);
    export_source(std::move(source), job.writing, group);
    return 0;
  });
}

}  // namespace phalanx::launch
