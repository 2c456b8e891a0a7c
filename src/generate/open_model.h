#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "data/tokenizer.h"
#include "model/load.h"

namespace phalanx::generate {

/// What a user means by a model: files, the tokenizer that belongs to them, and an adapter on top where PATH
/// was one.
struct ModelSource {
  model::ModelFiles files;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::string chat_template;                     ///< of the tokenizer, or model.chat_template
  std::optional<std::filesystem::path> adapter;  ///< PEFT folder
};

struct OpenOptions {
  std::optional<std::string> base;  ///< the model under an adapter, in place of the one the adapter names
  std::optional<std::string> tokenizer;      ///< folder or .gguf to take the tokenizer from
  std::optional<std::string> chat_template;  ///< Jinja file
};

/// @param path  a Hugging Face folder, a .gguf file, a PEFT adapter folder, or a run folder (its final/ is
/// meant).
/// @throws core::Error (65) naming the path, what it is and what is allowed.
ModelSource open_model(const std::filesystem::path& path, const OpenOptions& options = {});

/// @param path  folder with tokenizer.json, or a .gguf file.
std::shared_ptr<const data::Tokenizer> open_tokenizer(const std::filesystem::path& path);

/// The text of the Jinja file `chosen`, or the tokenizer's own template.
std::string chosen_template(const data::Tokenizer& tokenizer, const std::optional<std::string>& chosen);

}  // namespace phalanx::generate
