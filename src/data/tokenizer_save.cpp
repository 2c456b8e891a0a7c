#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_pipeline.h"

namespace phalanx::data {

namespace {

namespace fs = std::filesystem;

void write_file(const fs::path& path, const std::string& bytes) {
  core::make_directories(path.parent_path().string());
  core::write_file_atomic(path.string(), bytes);
}

/// Keys that transformers 4 and 5 both read; 5 takes PreTrainedTokenizerFast as the old name of its own
/// class.
std::string tokenizer_config(const TokenizerSpec& spec) {
  nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                   {"clean_up_tokenization_spaces", false}};
  const auto add = [&](const char* key, const std::optional<TokenId>& id) {
    if (id) config[key] = spec.tokens[static_cast<size_t>(*id)];
  };
  add("bos_token", spec.special_tokens.bos);
  add("eos_token", spec.special_tokens.eos);
  add("pad_token", spec.special_tokens.pad);
  add("unk_token", spec.special_tokens.unk);
  return config.dump(2) + "\n";
}

}  // namespace

void PipelineTokenizer::save_hf(const std::string& folder) const {
  const fs::path target(folder);
  bool has_template = spec_.chat_template.empty();
  bool has_config = false;
  // Our own normalizer has no name in the reference library.
  bool has_json = spec_.normalizer.find("\"SentencePiece\"") != std::string::npos;
  for (const auto& [name, bytes] : spec_.files) {
    write_file(target / name, bytes);
    has_template = has_template || name == "chat_template.jinja";
    has_json = has_json || name == "tokenizer.json";
    has_config = has_config || name == "tokenizer_config.json";
  }
  if (!has_json) write_file(target / "tokenizer.json", write_tokenizer_json(spec_));
  if (!has_config) write_file(target / "tokenizer_config.json", tokenizer_config(spec_));
  if (!has_template) write_file(target / "chat_template.jinja", spec_.chat_template);
}

}  // namespace phalanx::data
