#include <filesystem>

#include "data/tokenizer_bpe.h"
#include "data/tokenizer_config.h"
#include "data/tokenizer_json.h"

namespace phalanx::data {

std::shared_ptr<const Tokenizer> load_hf_tokenizer(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / "tokenizer.json").string();
  std::string json = read_tokenizer_file(path);
  TokenizerSpec spec = read_tokenizer_json(json, path);
  spec.files.emplace_back("tokenizer.json", std::move(json));
  read_tokenizer_config(folder, spec);
  return std::make_shared<BpeTokenizer>(std::move(spec));
}

}  // namespace phalanx::data
