#include "generate/open_model.h"

#include "core/config.h"
#include "core/error.h"
#include "core/files.h"
#include "formats/gguf.h"
#include "model/model_options.h"

namespace phalanx::generate {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTemplateBytes = 1 << 20;

/// The base of an adapter: what the user named, else what the run trained it on. The adapter's own files are
/// not asked: a path out of a foreign file is never opened.
fs::path base_of(const fs::path& adapter, const OpenOptions& options) {
  if (options.base) return *options.base;
  const fs::path run_config = fs::absolute(adapter).lexically_normal().parent_path() / "config.resolved.yaml";
  if (fs::exists(run_config)) {
    const auto config = core::Config::load(run_config.string());
    if (const auto& path = config.get<model::ModelOptions>().path) return *path;
  }
  core::fail(core::ExitCode::kBadInput,
             "{}: an adapter needs the model it was made for; name it with --set model.path=PATH",
             adapter.string());
}

fs::path inside_run(const fs::path& path) {
  const bool is_run =
      fs::is_directory(path) && !fs::exists(path / "config.json") && fs::is_directory(path / "final");
  return is_run ? path / "final" : path;
}

}  // namespace

ModelSource open_model(const fs::path& given, const OpenOptions& options) {
  if (!fs::exists(given))
    core::fail(
        core::ExitCode::kBadInput,
        "{}: no such file or folder; a model is a Hugging Face folder, a .gguf file, an adapter or a run",
        given.string());
  const fs::path path = inside_run(given);
  std::optional<fs::path> adapter;
  fs::path base = path;
  if (fs::exists(path / "adapter_config.json")) {
    adapter = path;
    base = base_of(path, options);
  }
  ModelSource source{model::ModelFiles::open(base), nullptr, "", adapter};
  source.tokenizer = options.tokenizer        ? open_tokenizer(*options.tokenizer)
                     : source.files.is_gguf() ? data::load_gguf_tokenizer(*source.files.gguf())
                                              : data::load_hf_tokenizer(base.string());
  source.chat_template = chosen_template(*source.tokenizer, options.chat_template);
  return source;
}

std::shared_ptr<const data::Tokenizer> open_tokenizer(const fs::path& path) {
  if (fs::is_directory(path)) return data::load_hf_tokenizer(path.string());
  return data::load_gguf_tokenizer(formats::GgufFile(path.string()));
}

std::string chosen_template(const data::Tokenizer& tokenizer, const std::optional<std::string>& chosen) {
  return chosen ? core::read_file(*chosen, kMaxTemplateBytes) : tokenizer.chat_template();
}

}  // namespace phalanx::generate
