#include <algorithm>
#include <filesystem>

#include "data/tokenizer_config.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_formats.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_pipeline.h"

namespace phalanx::data {

namespace {

namespace fs = std::filesystem;

struct TokenizerFormat {
  bool (*is)(std::string_view bytes);
  /// @param config  the bytes of the tokenizer_config.json beside it; empty: there is none, or it does not
  /// count
  TokenizerSpec (*read)(std::string_view bytes, const std::string& file, const std::string& config);
  std::string_view file_name;  ///< in a Hugging Face folder; empty: as it was
};

bool is_anything(std::string_view /*bytes*/) {
  return true;
}

template <TokenizerSpec (*kRead)(std::string_view, const std::string&)>
TokenizerSpec read_alone(std::string_view bytes, const std::string& file, const std::string& /*config*/) {
  return kRead(bytes, file);
}

/// In the order of asking.
constexpr TokenizerFormat kTokenizerFormats[] = {
    {is_sentencepiece_model, read_alone<read_sentencepiece_model>, "tokenizer.model"},
    {is_tiktoken, read_tiktoken, ""},
    {is_tekken, read_alone<read_tekken>, "tekken.json"},
    {is_anything, read_alone<read_tokenizer_json>, "tokenizer.json"},
};

TokenizerSpec read_tokenizer(const std::string& path, const std::string& config) {
  std::string bytes = read_tokenizer_file(path);
  for (const TokenizerFormat& format : kTokenizerFormats) {
    if (!format.is(bytes)) continue;
    TokenizerSpec spec = format.read(bytes, path, config);
    const std::string name = fs::path(path).filename().string();
    spec.files.emplace_back(format.file_name.empty() ? name : std::string(format.file_name),
                            std::move(bytes));
    return spec;
  }
  fail_tokenizer(TokenizerErrorKind::kSchema, "{}: is no tokenizer", path);
}

/// The file that `folder` has, the one that says most first; empty: none.
std::string tokenizer_file_in(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tekken.json"})
    if (fs::exists(folder / name)) return (folder / name).string();
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.path().extension() == ".tiktoken") found.push_back(entry.path().string());
  if (found.size() > 1) {
    std::sort(found.begin(), found.end());
    fail_tokenizer(TokenizerErrorKind::kSchema, "{}: holds {} and {}; keep one .tiktoken file",
                   folder.string(), found[0], found[1]);
  }
  return found.empty() ? std::string() : found.front();
}

}  // namespace

bool holds_tokenizer(const std::string& folder) {
  return !tokenizer_file_in(folder).empty();
}

std::shared_ptr<const Tokenizer> load_hf_tokenizer(const std::string& folder) {
  const std::string path = tokenizer_file_in(folder);
  if (path.empty()) {
    fail_tokenizer(
        TokenizerErrorKind::kSchema,
        "{}: holds no tokenizer; looked for tokenizer.json, tokenizer.model, tekken.json and *.tiktoken",
        folder);
  }
  const std::string config = (fs::path(folder) / "tokenizer_config.json").string();
  TokenizerSpec spec = read_tokenizer(path, fs::exists(config) ? read_tokenizer_file(config) : std::string());
  read_tokenizer_config(folder, spec);
  return std::make_shared<PipelineTokenizer>(std::move(spec));
}

std::shared_ptr<const Tokenizer> load_tokenizer_file(const std::string& path) {
  TokenizerSpec spec = read_tokenizer(path, "");
  spec.stop_ids = collect_stop_ids(spec, {});
  return std::make_shared<PipelineTokenizer>(std::move(spec));
}

}  // namespace phalanx::data
