#include "generate/open_model.h"

#include "checkpoint/stored_weights.h"
#include "core/error.h"
#include "core/files.h"
#include "formats/gguf.h"
#include "lora/lora_options.h"
#include "lora/peft_layout.h"
#include "model/model_options.h"

namespace phalanx::generate {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;

constexpr uint64_t kMaxTemplateBytes = 1 << 20;
constexpr int kMaxRuns = 16;  // a run on a checkpoint of a run on ...: more is a circle

ModelSource open(const fs::path& given, const OpenOptions& options, int depth);

fs::path run_config_above(const fs::path& folder) {
  return fs::absolute(folder).lexically_normal().parent_path() / "config.resolved.yaml";
}

/// The base of an adapter: what the user named, else what the run trained it on. The adapter's own files are
/// not asked: a path out of a foreign file is never opened.
fs::path base_of(const fs::path& adapter, const OpenOptions& options) {
  if (options.base) return *options.base;
  const fs::path run_config = run_config_above(adapter);
  if (fs::exists(run_config)) {
    const auto config = core::Config::load(run_config.string());
    if (const auto& path = config.get<model::ModelOptions>().path) return *path;
  }
  core::fail(ExitCode::kBadInput,
             "{}: an adapter needs the model it was made for; name it with --set model.path=PATH",
             adapter.string());
}

ModelDescription describe_new_model(const core::Config& config) {
  const auto& options = config.get<model::ModelOptions>();
  if (!options.family) {
    core::fail(ExitCode::kBadConfig,
               "{}: error: neither model.path nor model.family is set; path names a Hugging Face folder, a "
               ".gguf file or a checkpoint, family starts a new model",
               config.position("model"));
  }
  if (!options.tokenizer) {
    core::fail(ExitCode::kBadConfig,
               "{}: error: model.tokenizer is not set; a new model (model.family) needs the folder or .gguf "
               "file of a tokenizer",
               config.position("model.family"));
  }
  const auto tokenizer = open_tokenizer(*options.tokenizer);
  model::TransformerConfig sizes = model::config_of_new_model(options, tokenizer->vocab_size());
  const data::SpecialTokens& special = tokenizer->special_tokens();
  if (special.bos) sizes.bos_token_id = *special.bos;
  if (special.eos) sizes.eos_token_ids = {*special.eos};
  if (special.pad) sizes.pad_token_id = *special.pad;
  return {sizes, std::nullopt, tokenizer, chosen_template(*tokenizer, options.chat_template), std::nullopt};
}

/// The modules that a run's adapter has whole, besides its low-rank factors.
formats::AdapterConfig saved_whole(const lora::LoraOptions& options) {
  if (options.path) return lora::open_adapter(*options.path).config;
  formats::AdapterConfig config;
  config.modules_to_save = options.modules_to_save;
  return config;
}

/// The base as the adapter needs it: embedding and output matrix apart where it has one of them whole.
void prepare_base(model::ModelFiles& base, const formats::AdapterConfig& adapter) {
  if (lora::unties(adapter, base.config())) base = base.untied();
}

ModelDescription describe(const core::Config& config, int depth) {
  const auto& options = config.get<model::ModelOptions>();
  if (!options.path) return describe_new_model(config);
  ModelSource source = open(*options.path, {std::nullopt, options.tokenizer, options.chat_template}, depth);
  if (config.has("lora")) prepare_base(source.files, saved_whole(config.get<lora::LoraOptions>()));
  return {source.files.config(), std::move(source.files), source.tokenizer, source.chat_template,
          std::move(source.adapter)};
}

core::Config config_of_run(const fs::path& checkpoint, const OpenOptions& options) {
  const fs::path file = run_config_above(fs::absolute(checkpoint).lexically_normal().parent_path());
  if (!fs::exists(file)) {
    core::fail(
        ExitCode::kBadInput,
        "{}: this checkpoint has no run around it: {} says which model and tokenizer its weights belong "
        "to",
        checkpoint.string(), file.string());
  }
  std::vector<std::string> sets;
  if (options.base) sets.push_back("model.path=" + *options.base);
  if (options.tokenizer) sets.push_back("model.tokenizer=" + *options.tokenizer);
  if (options.chat_template) sets.push_back("model.chat_template=" + *options.chat_template);
  return core::Config::load(file.string(), sets);
}

lora::AdapterFiles adapter_in(const fs::path& checkpoint, const lora::LoraOptions& options,
                              const model::TransformerConfig& base,
                              std::shared_ptr<const formats::TensorFile> weights) {
  const formats::AdapterConfig config = options.path ? lora::open_adapter(*options.path).config
                                                     : lora::adapter_config(*model::build(base), options);
  return {checkpoint, config, std::move(weights)};
}

/// The weights that a run had after some step: those of the checkpoint, in the model that the run's config
/// describes.
ModelSource open_checkpoint(const fs::path& path, const OpenOptions& options, int depth) {
  const checkpoint::Verdict whole = checkpoint::newest_whole(path.string());
  const core::Config config = config_of_run(whole.path, options);
  ModelDescription run = describe(config, depth + 1);
  auto weights = std::make_shared<checkpoint::StoredWeights>(whole);
  if (!config.has("lora")) {
    return {model::ModelFiles(run.config, std::move(weights), whole.path), run.tokenizer, run.chat_template,
            std::nullopt};
  }
  if (!run.files)
    core::fail(ExitCode::kBadInput, "{}: an adapter on a model that was never saved", whole.path);
  return {*run.files, run.tokenizer, run.chat_template,
          adapter_in(whole.path, config.get<lora::LoraOptions>(), run.config, std::move(weights))};
}

ModelSource open_adapted(const fs::path& path, const OpenOptions& options, int depth) {
  const fs::path base = base_of(path, options);
  ModelSource source = open(base, {std::nullopt, options.tokenizer, options.chat_template}, depth + 1);
  if (source.adapter) {
    core::fail(ExitCode::kBadInput, "{}: its base {} is an adapter itself; merge that one first",
               path.string(), base.string());
  }
  source.adapter = lora::open_adapter(path);
  prepare_base(source.files, source.adapter->config);
  return source;
}

ModelSource open_files(const fs::path& path, const OpenOptions& options) {
  ModelSource source{model::ModelFiles::open(path), nullptr, "", std::nullopt};
  source.tokenizer = options.tokenizer        ? open_tokenizer(*options.tokenizer)
                     : source.files.is_gguf() ? data::load_gguf_tokenizer(*source.files.gguf())
                                              : data::load_hf_tokenizer(path.string());
  source.chat_template = chosen_template(*source.tokenizer, options.chat_template);
  return source;
}

bool holds_checkpoints(const fs::path& path) {
  return fs::exists(path / checkpoint::kManifestName) || fs::is_directory(path / "checkpoints") ||
         path.filename() == "checkpoints";
}

ModelSource open(const fs::path& path, const OpenOptions& options, int depth) {
  if (depth > kMaxRuns)
    core::fail(ExitCode::kBadInput, "{}: the runs above it name each other as their model", path.string());
  if (!fs::exists(path)) {
    core::fail(ExitCode::kBadInput,
               "{}: no such file or folder; a model is a Hugging Face folder, a .gguf file, an adapter, a "
               "checkpoint or a run",
               path.string());
  }
  if (fs::exists(path / "adapter_config.json")) return open_adapted(path, options, depth);
  if (fs::exists(path / "config.json")) return open_files(path, options);
  if (fs::is_directory(path / "final")) return open(path / "final", options, depth + 1);
  if (holds_checkpoints(path)) return open_checkpoint(path, options, depth);
  return open_files(path, options);
}

}  // namespace

ModelSource open_model(const fs::path& path, const OpenOptions& options) {
  ModelSource source = open(path, options, /*depth=*/0);
  if (source.files.config().num_labels == 0) return source;
  core::fail(
      ExitCode::kBadInput,
      "{}: a reward model (score.weight), which scores texts and has no output matrix to write any; name "
      "a language model",
      path.string());
}

ModelDescription describe_model(const core::Config& config) {
  return describe(config, /*depth=*/0);
}

std::shared_ptr<const data::Tokenizer> open_tokenizer(const fs::path& path) {
  if (fs::is_directory(path)) return data::load_hf_tokenizer(path.string());
  if (path.extension() != ".gguf") return data::load_tokenizer_file(path.string());
  return data::load_gguf_tokenizer(formats::GgufFile(path.string()));
}

bool is_tokenizer_alone(const fs::path& path) {
  if (fs::is_regular_file(path)) return path.extension() != ".gguf";
  const bool is_model = fs::exists(path / "config.json") || fs::exists(path / "adapter_config.json") ||
                        fs::exists(path / "final") || holds_checkpoints(path);
  return !is_model && data::holds_tokenizer(path.string());
}

std::string chosen_template(const data::Tokenizer& tokenizer, const std::optional<std::string>& chosen) {
  return chosen ? core::read_file(*chosen, kMaxTemplateBytes) : tokenizer.chat_template();
}

}  // namespace phalanx::generate
