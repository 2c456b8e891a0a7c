#include "launch/convert.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "formats/gguf_mix.h"
#include "generate/importance.h"
#include "generate/tokenizer_metadata.h"
#include "generate/unverified.h"
#include "generate/verify_export.h"
#include "launch/command.h"
#include "launch/loaded_model.h"
#include "lora/gguf_adapter.h"
#include "model/gguf_weights.h"
#include "model/parameter.h"
#include "model/save.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
constexpr uint64_t kMaxCalibrationBytes = 64 << 20;

/// The name of the written type: as asked, else the base's own where a file can hold it, else bf16.
std::string out_type(const ConvertArguments& arguments, const LoadedModel& loaded) {
  if (!arguments.outtype.empty()) return arguments.outtype;
  const core::DType own = loaded.source.files.dtype();
  return own == core::DType::kF32 ? "f32" : own == core::DType::kF16 ? "f16" : "bf16";
}

std::vector<std::vector<int32_t>> verification_prompts(const data::Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& text : generate::verification_texts()) prompts.push_back(tokenizer.encode(text));
  return prompts;
}

std::string describe(const generate::Comparison& comparison) {
  return fmt::format(
      "{} tokens: max |difference of log p| {:.2e} nats, mean KL {:.2e}, same most likely token {:.1f} %",
      comparison.num_tokens, comparison.max_difference, comparison.mean_kl, 100 * comparison.top1_agreement);
}

/// @throws core::Error if the model that was made is further from its source than its type explains.
void check_limits(const generate::Comparison& comparison, const generate::Limits& limits,
                  const std::string& made, const std::string& source, ExitCode code) {
  if (comparison.mean_kl <= limits.mean_kl && comparison.top1_agreement >= limits.top1_agreement) return;
  core::fail(code,
             "{}: is not the same model as {}: mean KL {:.2e} nats (limit {}), same most likely token {:.1f} "
             "% (limit "
             "{} %)",
             made, source, comparison.mean_kl, limits.mean_kl, 100 * comparison.top1_agreement,
             100 * limits.top1_agreement);
}

nlohmann::json comparison_json(const generate::Comparison& comparison, const generate::Limits& limits) {
  return {{"num_tokens", comparison.num_tokens},
          {"max_logprob_difference", comparison.max_difference},
          {"mean_kl", comparison.mean_kl},
          {"top1_agreement", comparison.top1_agreement},
          {"limits", {{"mean_kl", limits.mean_kl}, {"top1_agreement", limits.top1_agreement}}}};
}

/// What was written, as verification.json begins.
nlohmann::json begun_record(const ConvertArguments& arguments, const std::string& type) {
  nlohmann::json entry = {{"source", arguments.source}, {"format", arguments.to}, {"type", type}};
  if (!arguments.imatrix.empty()) entry["importance"] = arguments.imatrix;
  return entry;
}

/// How the weights were written.
struct Written {
  model::WeightSource weights;  // before they were rounded to the types
  generate::StoredTypes types;  // of each tensor
  model::Importance importance = {};
};

/// Reads back what was written with a fresh loader: every tensor must be what rounding to the written types
/// makes of the source's, to the bit; what the rounding itself costs is reported, and has limits.
/// @return what verification.json says of it.
nlohmann::json verify_written(const LoadedModel& source, const ConvertArguments& arguments,
                              const fs::path& path, const Written& how, const core::Config& config) {
  const std::string& destination = arguments.destination;
  const LoadedModel written = load_model(path.string(), config, at::kFloat);
  const auto prompts = verification_prompts(source.tokenizer());
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (written.tokenizer().encode(generate::verification_texts()[i]) != prompts[i]) {
      core::fail(ExitCode::kBug,
                 "{}: its tokenizer splits text differently from the source's; the export is not usable",
                 destination);
    }
  }
  auto expected = model::build(source.model->config());
  model::allocate(*expected, at::kFloat);
  generate::assign(*expected, generate::rounded(how.weights, how.types, how.importance));
  const std::string wrong = generate::first_different_tensor(*expected, *written.model);
  if (!wrong.empty()) {
    core::fail(ExitCode::kBug, "{}: read back, {} is not the source's in {}; the export is not usable",
               destination, wrong, core::name(how.types(wrong)));
  }
  generate::assign(*expected, source.weights());
  const generate::Comparison comparison = generate::compare(*expected, *written.model, prompts);
  const generate::Limits limits = generate::limits_of(*expected, how.types);
  check_limits(comparison, limits, destination, arguments.source, ExitCode::kBadInput);
  core::log_note(
      "verified: {} read back equals its source in these types to the bit; against the unrounded source: {}",
      destination, describe(comparison));
  std::map<std::string, int64_t> counts;
  for (const auto& [name, parameter] : model::all_parameters(*expected))
    ++counts[std::string(core::name(how.types(name)))];
  nlohmann::json result = comparison_json(comparison, limits);
  result["tensor_types"] = counts;
  result["equals_rounded_source"] = true;
  return result;
}

formats::GgufPairs gguf_metadata(const LoadedModel& source, const std::string& name) {
  formats::GgufPairs pairs;
  pairs.text("general.name", name);
  generate::add_tokenizer_keys(source.tokenizer(), source.model->config().vocab_size, pairs);
  return pairs;
}

void refuse_importance(const ConvertArguments& arguments, const std::string& type) {
  if (!arguments.imatrix.empty())
    core::fail(ExitCode::kBadConfig,
               "--imatrix-data is for the quantised types of --to gguf, which search for scales; {} does not",
               type);
}

int write_hf(const LoadedModel& source, const ConvertArguments& arguments, const core::Config& config) {
  const std::string type = out_type(arguments, source);
  refuse_importance(arguments, type);
  const core::DType dtype = formats::gguf_mix(type).base;  // one name for a type in all formats
  if (core::is_quantised(dtype))
    core::fail(ExitCode::kBadConfig,
               "--outtype {} is for --to gguf; a Hugging Face folder takes f32, f16, bf16", type);
  generate::Unverified made(arguments.destination);
  model::save_hf(made.path(), *source.model, source.weights(), dtype);
  source.tokenizer().save_hf(made.path());
  nlohmann::json verification = begun_record(arguments, type);
  verification.update(verify_written(source, arguments, made.path(),
                                     {source.weights(), [dtype](const std::string&) { return dtype; }},
                                     config));
  made.publish(verification);
  return 0;
}

model::Importance importance_of(const LoadedModel& source, const ConvertArguments& arguments,
                                const formats::GgufMix& mix) {
  if (arguments.imatrix.empty()) return {};
  if (!core::is_quantised(mix.base) || mix.base == core::DType::kQ8_0)
    refuse_importance(arguments, std::string(mix.name));
  if (fs::path(arguments.imatrix).extension() == ".gguf")
    return generate::read_importance(arguments.imatrix, *source.model);
  const std::string text = core::read_file(arguments.imatrix, kMaxCalibrationBytes);
  const std::vector<int32_t> ids = source.tokenizer().encode(text);
  if (ids.empty()) core::fail(ExitCode::kBadInput, "{}: holds no text to calibrate on", arguments.imatrix);
  model::Importance importance = generate::gather_importance(*source.model, ids);
  core::log_note("importance of the columns of {} matrices gathered on {} tokens", importance.size(),
                 ids.size());
  return importance;
}

void require_adapter(const LoadedModel& source, const ConvertArguments& arguments) {
  if (!source.adapter)
    core::fail(ExitCode::kBadInput, "{}: has no adapter, which {} writes; use --to hf or gguf",
               arguments.source, arguments.adapter_alone ? "--adapter" : "--to peft");
}

int write_gguf_adapter(const LoadedModel& source, const ConvertArguments& arguments) {
  refuse_importance(arguments, "an adapter");
  require_adapter(source, arguments);
  if (!arguments.outtype.empty() && arguments.outtype != "f32")
    core::fail(ExitCode::kBadConfig, "--outtype is {}, but an adapter is written as f32", arguments.outtype);
  generate::Unverified made(arguments.destination);
  formats::GgufPairs metadata;
  metadata.text("general.name", fs::path(arguments.destination).stem().string());
  lora::save_gguf_adapter(made.path(), *source.model, *source.adapter, metadata);
  const std::string wrong =
      lora::first_difference_in_gguf_adapter(made.path(), *source.model, *source.adapter);
  if (!wrong.empty())
    core::fail(ExitCode::kBug, "{}: read back, it is not its source: {}", arguments.destination, wrong);
  core::log_note("verified: {} read back equals the adapter to the bit", arguments.destination);
  nlohmann::json verification = begun_record(arguments, "f32");
  verification["equals_source"] = true;
  made.publish(verification);
  return 0;
}

int write_gguf(const LoadedModel& source, const ConvertArguments& arguments, const core::Config& config) {
  if (arguments.adapter_alone) return write_gguf_adapter(source, arguments);
  const std::string type = out_type(arguments, source);
  const formats::GgufMix& mix = formats::gguf_mix(type);
  const model::Importance importance = importance_of(source, arguments, mix);
  const auto types = model::gguf_types(*source.model, mix, !importance.empty());
  generate::Unverified made(arguments.destination);
  model::save_gguf(made.path(), *source.model, source.weights(), mix,
                   gguf_metadata(source, fs::path(arguments.destination).stem().string()), importance);
  nlohmann::json verification = begun_record(arguments, type);
  verification.update(
      verify_written(source, arguments, made.path(),
                     {model::gguf_weights(*source.model, source.weights()),
                      [&types](const std::string& name) { return types.at(name); }, importance},
                     config));
  made.publish(verification);
  return 0;
}

int write_peft(const LoadedModel& source, const ConvertArguments& arguments) {
  constexpr generate::Limits kExact = {1e-6, 0.99};
  constexpr double kMaxDifference = 1e-3;  // nats
  refuse_importance(arguments, "an adapter");
  require_adapter(source, arguments);
  generate::Unverified made(arguments.destination);
  lora::save_adapter(made.path(), *source.adapter, model::weights_of(*source.model), core::DType::kF32,
                     fs::absolute(source.source.files.path()).string());
  source.tokenizer().save_hf(made.path());
  core::Config with_base = core::Config::defaults({"model.path=" + source.source.files.path().string()});
  const LoadedModel written = load_model(made.path().string(), with_base, at::kFloat);
  const generate::Comparison same =
      generate::compare(*source.model, *written.model, verification_prompts(source.tokenizer()));
  if (same.max_difference > kMaxDifference)
    core::fail(ExitCode::kBug, "{}: read back, it differs from its source by {:.2e} nats",
               arguments.destination, same.max_difference);
  core::log_note("verified: {} read back: {}", arguments.destination, describe(same));
  nlohmann::json verification = begun_record(arguments, "f32");
  verification.update(comparison_json(same, kExact));
  verification["limits"]["max_logprob_difference"] = kMaxDifference;
  made.publish(verification);
  return 0;
}

int convert(const ConvertArguments& arguments) {
  check_arguments(arguments);
  const core::Config config = core::Config::defaults(arguments.sets);
  set_threads(config);
  return write_converted(load_model(arguments.source, config, at::kFloat), arguments);
}

/// The type that the model's files hold each tensor in.
generate::StoredTypes types_of(const LoadedModel& loaded) {
  return [&files = loaded.source.files](const std::string& name) {
    const formats::TensorInfo* tensor = files.weights().find(name);
    return tensor != nullptr ? tensor->dtype : files.dtype();
  };
}

int verify_export(const std::string& a, const std::string& b, const std::vector<std::string>& sets) {
  const core::Config config = core::Config::defaults(sets);
  set_threads(config);
  const LoadedModel source = load_model(a, config, at::kFloat), other = load_model(b, config, at::kFloat);
  const auto prompts = verification_prompts(source.tokenizer());
  if (verification_prompts(other.tokenizer()) != prompts)
    core::fail(ExitCode::kBadInput, "{}: its tokenizer splits text differently from that of {}", b, a);
  const bool in_gguf = source.source.files.is_gguf() || other.source.files.is_gguf();
  const auto weights_in = [in_gguf](const LoadedModel& loaded) {
    return in_gguf ? model::gguf_weights(*loaded.model, loaded.weights()) : loaded.weights();
  };
  const std::string wrong =
      generate::first_wrong_tensor({source.model->config(), weights_in(source), types_of(source)},
                                   {other.model->config(), weights_in(other), types_of(other)});
  if (!wrong.empty())
    core::fail(ExitCode::kBadInput, "{}: is not {} in {}: {}", b, a, core::name(other.source.files.dtype()),
               wrong);
  const generate::Comparison comparison = generate::compare(*source.model, *other.model, prompts);
  std::printf("%s against %s: every tensor is what rounding makes of its source; %s\n", a.c_str(), b.c_str(),
              describe(comparison).c_str());
  check_limits(comparison, generate::limits_of(*other.model, types_of(other)), b, a, ExitCode::kBadInput);
  return 0;
}

Command converter(const std::string& name, const std::string& help, const std::string& to) {
  return {name, help, [to](CLI::App& app) {
            auto arguments = std::make_shared<ConvertArguments>();
            arguments->to = to;
            app.add_option("source", arguments->source,
                           "Hugging Face folder, .gguf file, adapter, checkpoint or run")
                ->required();
            app.add_option("destination", arguments->destination,
                           "Folder (hf, peft) or file (gguf); must not exist")
                ->required();
            app.add_option("--to", arguments->to, "hf, gguf or peft");
            app.add_option("--outtype", arguments->outtype, outtype_help("source's"));
            add_importance_option(app, *arguments);
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

void check_arguments(const ConvertArguments& arguments) {
  if (arguments.to != "hf" && arguments.to != "gguf" && arguments.to != "peft") {
    core::fail(ExitCode::kBadConfig, "--to is {}; known are hf, gguf, peft",
               core::printable(arguments.to, 40));
  }
  if (!arguments.outtype.empty()) formats::gguf_mix(arguments.outtype);  // known, before anything is loaded
  if (arguments.adapter_alone && arguments.to != "gguf")
    core::fail(ExitCode::kBadConfig, "--adapter is for --to gguf; --to peft always writes the adapter alone");
  generate::refuse_existing(arguments.destination);
}

int write_converted(const LoadedModel& source, const ConvertArguments& arguments) {
  // model.path names the base of an adapter; what was written stands on its own.
  const core::Config alone = core::Config::defaults();
  if (arguments.to == "hf") return write_hf(source, arguments, alone);
  if (arguments.to == "gguf") return write_gguf(source, arguments, alone);
  return write_peft(source, arguments);
}

std::string outtype_help(const std::string& whose) {
  std::string quantised;
  for (const formats::GgufMix& mix : formats::gguf_mixes())
    if (core::is_quantised(mix.base))
      quantised += fmt::format("{}{}", quantised.empty() ? "" : ", ", mix.name);
  return fmt::format("f32, f16, bf16 or (gguf) {}; default: the {} own type, else bf16", quantised, whose);
}

void add_importance_option(CLI::App& app, ConvertArguments& arguments) {
  app.add_option("--imatrix-data", arguments.imatrix,
                 "(gguf, quantised types) Text whose activations say which columns count, or a GGUF file of "
                 "llama-imatrix");
}

/// For verify.cpp.
int run_verify_export(const std::string& a, const std::string& b, const std::vector<std::string>& sets) {
  return verify_export(a, b, sets);
}

}  // namespace phalanx::launch
