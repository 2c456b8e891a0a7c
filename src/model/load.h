#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "formats/hf_config.h"
#include "formats/tensor_file.h"
#include "model/causal_lm.h"

namespace phalanx::formats {
class GgufFile;
}

namespace phalanx::model {

/// A model, opened and checked but not read: config and weights under Hugging Face's names.
class ModelFiles {
 public:
  /// @param path  a Hugging Face folder (config.json + safetensors) or a .gguf file.
  /// @throws core::Error (kBadInput) naming the file, what was found and what is allowed.
  static ModelFiles open(const std::filesystem::path& path);

  /// A model whose weights lie elsewhere. @param path  what messages call it.
  ModelFiles(const TransformerConfig& config, std::shared_ptr<const formats::TensorFile> weights,
             std::filesystem::path path);

  /// The same model with the embedding's matrix as an output matrix of its own: two that start equal, and may
  /// be trained to differ.
  ModelFiles untied() const;

  const std::filesystem::path& path() const { return path_; }
  bool is_gguf() const { return gguf_ != nullptr; }
  const formats::GgufFile* gguf() const { return gguf_.get(); }  ///< its tokenizer keys; null for a folder
  const TransformerConfig& config() const { return config_; }
  const formats::TensorFile& weights() const { return *weights_; }
  const std::shared_ptr<const formats::TensorFile>& shared_weights() const { return weights_; }
  core::DType dtype() const { return dtype_; }  ///< the type that most of the weights have
  /// The same weights for a model that scores sequences or tokens: without an output matrix. `score` is new
  /// where the files have none. @param num_labels, labels_tokens  of a new one; stored ones keep theirs.
  ModelFiles as_scoring(int64_t num_labels, bool labels_tokens = false) const;
  bool has_new_score() const { return has_new_score_; }
  /// Sentences for the start-up report: keys that were not understood, oddities of the file.
  const std::vector<std::string>& notices() const { return notices_; }

 private:
  ModelFiles() = default;
  std::filesystem::path path_;
  std::shared_ptr<formats::GgufFile> gguf_;
  std::shared_ptr<const formats::TensorFile> weights_;
  TransformerConfig config_;
  core::DType dtype_ = core::DType::kF32;
  bool has_new_score_ = false;
  std::vector<std::string> notices_;
};

/// A model of the family that the config names. Nothing is allocated yet.
std::shared_ptr<CausalLm> build(const TransformerConfig& config);

/// Checks names, shapes and types without reading a weight. What is new need not be there.
void check_model(const ModelFiles& files);

inline constexpr const char *kScoreWeight = "score.weight", *kScoreBias = "score.bias";

/// Reads the weights into `model`, which may be cut (Module::cut_parameter) or lack layers; parameters that
/// the files do not have (an adapter's) are left alone. check_model() says whether the files fit the whole
/// model.
/// @throws core::Error for weights that are not finite.
void load_weights(CausalLm& model, const ModelFiles& files, at::ScalarType dtype);

/// Builds and fills the model. @param dtype  compute dtype of the weights: fp64, fp32 or bf16.
/// @throws core::Error listing every missing, unexpected or misshapen tensor; or for weights that are not
/// finite.
std::shared_ptr<CausalLm> load_model(const ModelFiles& files, at::ScalarType dtype);
std::shared_ptr<CausalLm> load_model(const std::filesystem::path& path, at::ScalarType dtype);

/// A new model with random weights (initialize.h).
std::shared_ptr<CausalLm> new_model(const TransformerConfig& config, at::ScalarType dtype, uint64_t seed);

}  // namespace phalanx::model
