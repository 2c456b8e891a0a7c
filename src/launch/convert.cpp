#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <optional>

#include "core/config.h"
#include "core/error.h"
#include "core/log.h"
#include "formats/gguf.h"
#include "generate/tokenizer_metadata.h"
#include "generate/verify_export.h"
#include "launch/command.h"
#include "launch/loaded_model.h"
#include "model/parameter.h"
#include "model/save.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
constexpr double kExactLimit = 1e-3;   // nats
constexpr double kQuantisedKl = 0.05;  // nats a token: what four bits a weight cost at most

struct OutType {
  const char* name;
  core::DType dtype;
};
constexpr OutType kOutTypes[] = {{"f32", core::DType::kF32},
                                 {"f16", core::DType::kF16},
                                 {"bf16", core::DType::kBF16},
                                 {"q8_0", core::DType::kQ8_0}};

struct ConvertArguments {
  std::string source, destination, to = "hf", outtype;
  std::vector<std::string> sets;
};

/// The type of the written weights: as asked, else the base's own where a file can hold it, else bf16.
core::DType out_type(const ConvertArguments& arguments, const LoadedModel& loaded) {
  if (arguments.outtype.empty()) {
    const core::DType own = loaded.source.files.dtype();
    return own == core::DType::kF32 || own == core::DType::kF16 ? own : core::DType::kBF16;
  }
  for (const OutType& type : kOutTypes) {
    if (arguments.outtype == type.name) return type.dtype;
  }
  core::fail(ExitCode::kBadConfig, "--outtype is {}; known are f32, f16, bf16, q8_0",
             core::printable(arguments.outtype, 40));
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

/// Reads back what was written with a fresh loader: every tensor must be what rounding to the written types
/// makes of the source's, to the bit; what the rounding itself costs is reported.
void verify_written(const LoadedModel& source, const std::string& destination, core::DType matrices,
                    core::DType vectors, const core::Config& config) {
  const LoadedModel written = load_model(destination, config, at::kFloat);
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
  generate::assign(*expected, generate::rounded(source.weights(), matrices, vectors));
  const std::string wrong = generate::first_different_tensor(*expected, *written.model);
  if (!wrong.empty()) {
    core::fail(ExitCode::kBug, "{}: read back, {} is not the source's in {}; the export is not usable",
               destination, wrong, core::name(matrices));
  }
  generate::assign(*expected, source.weights());
  core::log_note(
      "verified: {} read back equals its source in these types to the bit; against the unrounded source: {}",
      destination, describe(generate::compare(*expected, *written.model, prompts)));
}

formats::GgufPairs gguf_metadata(const LoadedModel& source, const std::string& name) {
  formats::GgufPairs pairs;
  pairs.text("general.name", name);
  generate::add_tokenizer_keys(source.tokenizer(), source.model->config().vocab_size, pairs);
  return pairs;
}

void refuse_existing(const std::string& path) {
  if (fs::exists(path) && !(fs::is_directory(path) && fs::is_empty(path))) {
    core::fail(ExitCode::kBadInput,
               "{}: already exists; nothing is overwritten, choose another name or remove it", path);
  }
}

int write_hf(const LoadedModel& source, const ConvertArguments& arguments, const core::Config& config) {
  const core::DType dtype = out_type(arguments, source);
  if (core::is_quantised(dtype))
    core::fail(ExitCode::kBadConfig,
               "--outtype {} is for --to gguf; a Hugging Face folder takes f32, f16, bf16",
               arguments.outtype);
  model::save_hf(arguments.destination, *source.model, source.weights(), dtype);
  source.tokenizer().save_hf(arguments.destination);
  verify_written(source, arguments.destination, dtype, dtype, config);
  return 0;
}

int write_gguf(const LoadedModel& source, const ConvertArguments& arguments, const core::Config& config) {
  const core::DType dtype = out_type(arguments, source);
  model::save_gguf(arguments.destination, *source.model, source.weights(), dtype,
                   gguf_metadata(source, fs::path(arguments.destination).stem().string()));
  verify_written(source, arguments.destination, dtype, core::DType::kF32, config);
  return 0;
}

int write_peft(const LoadedModel& source, const ConvertArguments& arguments, const core::Config& config) {
  if (!source.adapter)
    core::fail(ExitCode::kBadInput, "{}: has no adapter, which --to peft writes; use --to hf or gguf",
               arguments.source);
  lora::save_adapter(arguments.destination, *source.adapter, model::weights_of(*source.model),
                     core::DType::kF32, fs::absolute(source.source.files.path()).string());
  source.tokenizer().save_hf(arguments.destination);
  core::Config with_base = core::Config::defaults({"model.path=" + source.source.files.path().string()});
  const LoadedModel written = load_model(arguments.destination, with_base, at::kFloat);
  const generate::Comparison same =
      generate::compare(*source.model, *written.model, verification_prompts(source.tokenizer()));
  if (same.max_difference > kExactLimit)
    core::fail(ExitCode::kBug, "{}: read back, it differs from its source by {:.2e} nats",
               arguments.destination, same.max_difference);
  core::log_note("verified: {} read back: {}", arguments.destination, describe(same));
  (void)config;
  return 0;
}

int convert(const ConvertArguments& arguments) {
  const core::Config config = core::Config::defaults(arguments.sets);
  if (arguments.to != "hf" && arguments.to != "gguf" && arguments.to != "peft") {
    core::fail(ExitCode::kBadConfig, "--to is {}; known are hf, gguf, peft",
               core::printable(arguments.to, 40));
  }
  refuse_existing(arguments.destination);
  set_threads(config);
  const LoadedModel source = load_model(arguments.source, config, at::kFloat);
  // model.path names the base of an adapter; what was written stands on its own.
  const core::Config alone = core::Config::defaults();
  if (arguments.to == "hf") return write_hf(source, arguments, alone);
  if (arguments.to == "gguf") return write_gguf(source, arguments, alone);
  return write_peft(source, arguments, alone);
}

int verify_export(const std::string& a, const std::string& b, const std::vector<std::string>& sets) {
  const core::Config config = core::Config::defaults(sets);
  set_threads(config);
  const LoadedModel source = load_model(a, config, at::kFloat), other = load_model(b, config, at::kFloat);
  const auto prompts = verification_prompts(source.tokenizer());
  if (verification_prompts(other.tokenizer()) != prompts)
    core::fail(ExitCode::kBadInput, "{}: its tokenizer splits text differently from that of {}", b, a);
  const core::DType made_dtype = other.source.files.dtype();
  const bool repeatable = generate::is_repeatable(made_dtype);
  if (repeatable) {
    const std::string wrong =
        generate::first_wrong_tensor({source.model->config(), source.weights(), source.source.files.dtype()},
                                     {other.model->config(), other.weights(), made_dtype});
    if (!wrong.empty())
      core::fail(ExitCode::kBadInput, "{}: is not {} in {}: {}", b, a, core::name(made_dtype), wrong);
  }
  const generate::Comparison comparison = generate::compare(*source.model, *other.model, prompts);
  std::printf("%s against %s: %s%s\n", a.c_str(), b.c_str(),
              repeatable ? "every tensor is what rounding makes of its source; " : "",
              describe(comparison).c_str());
  if (comparison.mean_kl > kQuantisedKl)
    core::fail(ExitCode::kBadInput, "{}: is not the same model as {}: mean KL {:.2e} nats is above {}", b, a,
               comparison.mean_kl, kQuantisedKl);
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
            app.add_option("--outtype", arguments->outtype,
                           "f32, f16, bf16 or (gguf) q8_0; default: the source's own type, else bf16");
            add_set_option(app, arguments->sets);
            return [arguments] { return convert(*arguments); };
          }};
}

const bool export_registered =
    register_command(converter("export", "Writes a model in another format and verifies it", "hf"));
const bool import_registered =
    register_command(converter("import", "Turns any model into a Hugging Face folder and verifies it", "hf"));

const bool merge_registered = register_command(
    {"merge", "Merges ADAPTER into BASE and verifies the result", [](CLI::App& app) {
       auto arguments = std::make_shared<ConvertArguments>();
       auto base = std::make_shared<std::string>();
       app.add_option("base", *base, "Hugging Face folder or .gguf file")->required();
       app.add_option("adapter", arguments->source, "PEFT folder or run")->required();
       app.add_option("destination", arguments->destination, "Folder (hf) or file (gguf); must not exist")
           ->required();
       app.add_option("--to", arguments->to, "hf or gguf");
       app.add_option("--outtype", arguments->outtype,
                      "f32, f16, bf16 or (gguf) q8_0; default: the base's own type, else bf16");
       add_set_option(app, arguments->sets);
       return [arguments, base] {
         arguments->sets.push_back("model.path=" + *base);
         return convert(*arguments);
       };
     }});

}  // namespace

/// For verify.cpp.
int run_verify_export(const std::string& a, const std::string& b, const std::vector<std::string>& sets) {
  return verify_export(a, b, sets);
}

}  // namespace phalanx::launch
