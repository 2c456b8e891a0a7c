#include "model/load.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "formats/gguf.h"
#include "formats/hf_weights.h"
#include "formats/stored_tensor.h"
#include "formats/tensor_spec.h"
#include "model/config_json.h"
#include "model/gguf_config.h"
#include "model/initialize.h"
#include "model/parameter.h"
#include "model/stored_weights.h"

namespace phalanx::model {
namespace {

namespace fs = std::filesystem;

core::DType most_common_dtype(const formats::TensorFile& file) {
  std::map<core::DType, uint64_t> elements;
  for (const formats::TensorInfo& info : file.tensors()) {
    elements[info.dtype] += formats::count_elements(info.shape).value_or(0);
  }
  core::DType best = core::DType::kF32;
  uint64_t most = 0;
  for (const auto& [dtype, count] : elements) {
    if (count > most) {
      most = count;
      best = dtype;
    }
  }
  return best;
}

const std::string kEmbedding = "model.embed_tokens.weight", kOutput = "lm_head.weight";

/// The embedding's tensor under the output matrix's name, too.
class UntiedWeights : public formats::TensorFile {
 public:
  explicit UntiedWeights(std::shared_ptr<const formats::TensorFile> file)
      : file_(std::move(file)), tensors_(file_->tensors()) {
    const formats::TensorInfo* embedding = file_->find(kEmbedding);
    if (embedding == nullptr || file_->find(kOutput) != nullptr) return;
    embedding_ = *embedding;
    tensors_.push_back(embedding_);
    tensors_.back().name = kOutput;
  }
  const std::vector<formats::TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const formats::TensorInfo& tensor) const override {
    const bool is_added = tensor.name == kOutput && !embedding_.name.empty();
    return file_->bytes(is_added ? embedding_ : tensor);
  }
  void check_unchanged() const override { file_->check_unchanged(); }
  void release_pages() const override { file_->release_pages(); }

 private:
  std::shared_ptr<const formats::TensorFile> file_;
  std::vector<formats::TensorInfo> tensors_;
  formats::TensorInfo embedding_;
};

void add_unread(const formats::HfConfig& config, std::vector<std::string>& notices) {
  for (const std::string& key : config.unread_that_may_matter()) {
    notices.push_back(fmt::format("{}: the key \"{}\" is not known and was ignored", config.path().string(),
                                  core::printable(key)));
  }
  for (const std::string& notice : config.notices()) notices.push_back(notice);
}

/// A folder of another kind of model says so in its config.
void refuse_other_kinds(const formats::HfConfig& config) {
  const std::vector<std::string> known = family_names(), classes = config.texts("architectures");
  if (classes.empty() || std::ranges::find(known, config.text("model_type")) != known.end()) return;
  const auto is_causal = [](const std::string& name) {
    return name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel");
  };
  if (std::ranges::any_of(classes, is_causal)) return;
  core::fail(
      core::ExitCode::kBadInput,
      "{}: {} (model_type {}) is not a causal language model; only those are read, of the architectures {}",
      config.path().string(), core::printable(classes.front(), 60),
      core::printable(config.text("model_type"), 40), fmt::join(family_architectures(), ", "));
}

/// A language model's tensors but for its output matrix.
class WithoutOutput : public formats::TensorFile {
 public:
  explicit WithoutOutput(std::shared_ptr<const formats::TensorFile> inner) : inner_(std::move(inner)) {
    for (const formats::TensorInfo& tensor : inner_->tensors())
      if (tensor.name != "lm_head.weight") tensors_.push_back(tensor);
  }
  const std::vector<formats::TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const formats::TensorInfo& tensor) const override {
    return inner_->bytes(*inner_->find(tensor.name));
  }
  void check_unchanged() const override { inner_->check_unchanged(); }
  void release_pages() const override { inner_->release_pages(); }

 private:
  std::shared_ptr<const formats::TensorFile> inner_;
  std::vector<formats::TensorInfo> tensors_;
};

[[noreturn]] void refuse(const fs::path& path, const char* found) {
  core::fail(core::ExitCode::kBadInput,
             "{}: {}; a model is a folder with config.json and model.safetensors, or a .gguf file",
             core::printable(path.string()), found);
}

}  // namespace

ModelFiles::ModelFiles(const TransformerConfig& config, std::shared_ptr<const formats::TensorFile> weights,
                       fs::path path)
    : path_(std::move(path)),
      weights_(std::move(weights)),
      config_(config),
      dtype_(most_common_dtype(*weights_)) {}

ModelFiles ModelFiles::open(const fs::path& path) {
  ModelFiles files;
  files.path_ = path;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) refuse(path, "does not exist");
  if (path.extension() == ".gguf") {
    files.gguf_ = std::make_shared<formats::GgufFile>(path);
    files.config_ = read_gguf_config(*files.gguf_);
    files.weights_ =
        formats::as_gguf_parameters(files.gguf_, gguf_layout(files.config_), {kRopeFreqs}, path.string());
    files.notices_ = files.gguf_->notices();
  } else {
    if (!fs::is_directory(path, ignored)) refuse(path, "is a file, but not a GGUF");
    if (!fs::exists(path / "config.json", ignored)) refuse(path, "has no config.json");
    const formats::HfConfig written(path / "config.json");
    refuse_other_kinds(written);
    const formats::HfConfig config = in_common_keys(written);
    files.config_ = parse_config(config);
    refuse_unread(config, files.config_);
    files.weights_ = std::make_shared<formats::HfWeights>(path);
    const Family& family = find_family(files.config_.model_type);
    if (family.rename_weights) files.weights_ = family.rename_weights(files.weights_);
    if (family.stored_tensors)
      files.weights_ = formats::as_parameters(files.weights_, family.stored_tensors(files.config_));
    add_unread(config, files.notices_);
  }
  files.dtype_ = most_common_dtype(*files.weights_);
  return files;
}

ModelFiles ModelFiles::untied() const {
  ModelFiles files = *this;
  files.config_.tie_word_embeddings = false;
  files.weights_ = std::make_shared<UntiedWeights>(weights_);
  return files;
}

ModelFiles ModelFiles::as_scoring(int64_t num_labels, bool labels_tokens) const {
  ModelFiles files = *this;
  if (config_.num_labels > 0) return files;
  files.config_.num_labels = num_labels;
  files.config_.labels_tokens = labels_tokens;
  files.weights_ = std::make_shared<WithoutOutput>(weights_);
  files.has_new_score_ = true;
  return files;
}

std::shared_ptr<CausalLm> build(const TransformerConfig& config) {
  return find_family(config.model_type).build(config);
}

void check_model(const ModelFiles& files) {
  NamedTensors stored = all_parameters(*build(files.config()));
  if (files.has_new_score())
    std::erase_if(stored, [](const auto& parameter) {
      return parameter.first == kScoreWeight || parameter.first == kScoreBias;
    });
  check_weights(stored, files.weights(), files.path().string());
}

void load_weights(CausalLm& model, const ModelFiles& files, at::ScalarType dtype) {
  fill_weights(all_parameters(model), model.named_parts(), files.weights(), dtype, files.path().string());
}

std::shared_ptr<CausalLm> load_model(const ModelFiles& files, at::ScalarType dtype) {
  check_model(files);
  std::shared_ptr<CausalLm> model = build(files.config());
  load_weights(*model, files, dtype);
  return model;
}

std::shared_ptr<CausalLm> load_model(const fs::path& path, at::ScalarType dtype) {
  return load_model(ModelFiles::open(path), dtype);
}

std::shared_ptr<CausalLm> new_model(const TransformerConfig& config, at::ScalarType dtype, uint64_t seed) {
  config.validate("model");
  std::shared_ptr<CausalLm> model = build(config);
  initialize(*model, dtype, seed);
  return model;
}

}  // namespace phalanx::model
