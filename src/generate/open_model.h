#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "core/config.h"
#include "data/tokenizer.h"
#include "lora/adapter.h"
#include "model/load.h"

namespace phalanx::generate {

/// What a user means by a model: files, the tokenizer that belongs to them, and an adapter on top where there
/// was one.
struct ModelSource {
  model::ModelFiles files;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::string chat_template;  ///< of the tokenizer, or model.chat_template
  std::optional<lora::AdapterFiles> adapter;
};

struct OpenOptions {
  std::optional<std::string> base;  ///< the model under an adapter, in place of the one it was trained on
  std::optional<std::string> tokenizer;      ///< folder, tokenizer file or .gguf
  std::optional<std::string> chat_template;  ///< Jinja file
};

/// @param path  a Hugging Face folder, a .gguf file, a PEFT adapter folder, a checkpoint (checkpoints/step_N,
/// every byte of which is checked first), or a run folder: its final/, or, while there is none, its newest
/// whole checkpoint.
/// @throws core::Error (65) naming the path, what it is and what is allowed.
ModelSource open_model(const std::filesystem::path& path, const OpenOptions& options = {});

/// What the section `model` of a config describes.
struct ModelDescription {
  model::TransformerConfig config;
  std::optional<model::ModelFiles> files;  ///< of model.path; none for a new model (model.family)
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::string chat_template;
  std::optional<lora::AdapterFiles> adapter;  ///< where model.path is one
};

/// @throws core::Error (65) for a file that cannot be read, (78) for keys that do not fit together.
ModelDescription describe_model(const core::Config& config);

/// @param path  folder with a tokenizer, a tokenizer file (see data::load_tokenizer_file), or a .gguf file.
std::shared_ptr<const data::Tokenizer> open_tokenizer(const std::filesystem::path& path);

/// Is `path` a tokenizer without a model: one of its files, or a folder that holds nothing else of a model?
bool is_tokenizer_alone(const std::filesystem::path& path);

/// The text of the Jinja file `chosen`, or the tokenizer's own template.
std::string chosen_template(const data::Tokenizer& tokenizer, const std::optional<std::string>& chosen);

}  // namespace phalanx::generate
