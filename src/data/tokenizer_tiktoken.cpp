#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>

#include "data/base64.h"
#include "data/bpe_alphabet.h"
#include "data/byte_ranks.h"
#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_formats.h"
#include "data/tokenizer_json_value.h"

namespace phalanx::data {

namespace {

using enum TokenizerErrorKind;

constexpr int32_t kMaxRank = 4'000'000;

/// What a tiktoken file leaves out.
struct Encoding {
  std::string_view name;
  size_t num_ranks;
  std::string pattern;
  std::vector<std::pair<std::string, TokenId>> special;
  size_t num_reserved = 0;  ///< special tokens from num_ranks on, those without a name included
  int first_reserved = 2;   ///< number of the first one without a name
  std::string_view bos = {}, eos = {}, pad = {};
};

/// The names of Llama 4: text, vision and reasoning, each with reserved ones in between.
std::vector<std::pair<std::string, TokenId>> llama4_special_tokens() {
  std::vector<std::pair<std::string, TokenId>> tokens;
  TokenId next = 200000;
  const auto add = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) tokens.emplace_back(fmt::format("<|{}|>", name), next++);
  };
  const auto reserve = [&](std::string_view group, int first, int last) {
    for (int i = first; i <= last; ++i)
      tokens.emplace_back(fmt::format("<|{}_reserved_special_token_{}|>", group, i), next++);
  };
  add({"begin_of_text", "end_of_text", "fim_prefix", "fim_middle", "fim_suffix"});
  add({"header_start", "header_end", "eom", "eot", "step"});
  reserve("text_post_train", 0, 5);
  add({"python_start", "python_end", "finetune_right_pad"});
  reserve("text_post_train", 8, 68);
  add({"image_start", "image_end"});
  reserve("vision", 0, 1);
  add({"tile_x_separator", "tile_y_separator"});
  reserve("vision", 2, 5);
  add({"image"});
  reserve("vision", 6, 6);
  add({"patch"});
  reserve("vision", 7, 1047);
  reserve("reasoning", 0, 7);
  add({"reasoning_thinking_start", "reasoning_thinking_end"});
  return tokens;
}

const std::vector<Encoding>& encodings() {
  static const std::vector<Encoding> all = {
      {.name = "gpt2, r50k_base",
       .num_ranks = 50256,
       .pattern = std::string(pattern_text(KnownPattern::kGpt2)),
       .special = {{"<|endoftext|>", 50256}},
       .eos = "<|endoftext|>"},
      {.name = "p50k_base",
       .num_ranks = 50280,
       .pattern = std::string(pattern_text(KnownPattern::kGpt2)),
       .special = {{"<|endoftext|>", 50256}},
       .eos = "<|endoftext|>"},
      {.name = "cl100k_base",
       .num_ranks = 100256,
       .pattern = std::string(pattern_text(KnownPattern::kLlama3)),
       .special = {{"<|endoftext|>", 100257},
                   {"<|fim_prefix|>", 100258},
                   {"<|fim_middle|>", 100259},
                   {"<|fim_suffix|>", 100260},
                   {"<|endofprompt|>", 100276}},
       .eos = "<|endoftext|>"},
      {.name = "o200k_base",
       .num_ranks = 199998,
       .pattern = std::string(pattern_text(KnownPattern::kO200k)),
       .special = {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}},
       .eos = "<|endoftext|>"},
      {.name = "Llama 3",
       .num_ranks = 128000,
       .pattern = std::string(pattern_text(KnownPattern::kLlama3)),
       .special = {{"<|begin_of_text|>", 128000},
                   {"<|end_of_text|>", 128001},
                   {"<|reserved_special_token_0|>", 128002},
                   {"<|reserved_special_token_1|>", 128003},
                   {"<|finetune_right_pad_id|>", 128004},
                   {"<|step_id|>", 128005},
                   {"<|start_header_id|>", 128006},
                   {"<|end_header_id|>", 128007},
                   {"<|eom_id|>", 128008},
                   {"<|eot_id|>", 128009},
                   {"<|python_tag|>", 128010}},
       .num_reserved = 256,
       .bos = "<|begin_of_text|>",
       .eos = "<|end_of_text|>",
       .pad = "<|finetune_right_pad_id|>"},
      {.name = "Llama 4",
       .num_ranks = 200000,
       .pattern = std::string(pattern_text(KnownPattern::kO200k)),
       .special = llama4_special_tokens(),
       .num_reserved = 2048,
       .first_reserved = 0,
       .bos = "<|begin_of_text|>",
       .eos = "<|end_of_text|>",
       .pad = "<|finetune_right_pad|>"},
  };
  return all;
}

/// What tokenizer_config.json says where the file alone is not enough: "pat_str", and the special tokens as
/// "added_tokens_decoder". Which of them begin and end texts it says with the usual keys.
std::optional<Encoding> encoding_of(const std::string& config, size_t num_ranks, const std::string& file) {
  if (config.empty()) return std::nullopt;
  const JsonDocument document(config,
                              (std::filesystem::path(file).parent_path() / "tokenizer_config.json").string());
  const auto pattern = document.root().find("pat_str");
  if (!pattern) return std::nullopt;
  Encoding encoding{
      .name = "pat_str", .num_ranks = num_ranks, .pattern = std::string(pattern->text()), .special = {}};
  const auto added = document.root().find("added_tokens_decoder");
  if (!added) return encoding;
  for (const auto field : added->object()) {
    const JsonValue token = added->at(field.key);
    TokenId id = 0;
    const auto [stop, error] = std::from_chars(field.key.data(), field.key.data() + field.key.size(), id);
    if (error != std::errc() || stop != field.key.data() + field.key.size() || id < 0 || id > kMaxRank)
      token.fail(kAddedTokens, "its key is no id");
    encoding.special.emplace_back(token.at("content").text(), id);
  }
  return encoding;
}

Encoding find_encoding(size_t num_ranks, const std::string& file, const std::string& config) {
  if (auto encoding = encoding_of(config, num_ranks, file)) return std::move(*encoding);
  std::string known;
  for (const Encoding& encoding : encodings()) {
    if (encoding.num_ranks == num_ranks) return encoding;
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", encoding.num_ranks, encoding.name);
  }
  fail_tokenizer(
      kVocab,
      "{}: has {} ranks; a tiktoken file does not say how it splits text, which is known for {}; put a "
      "tokenizer_config.json with \"pat_str\" and \"added_tokens_decoder\" beside it and name the folder, or "
      "use "
      "the model's tokenizer.json",
      file, num_ranks, known);
}

/// Lines "base64 rank"; a rank may be left out where a special token stands.
std::map<uint32_t, std::string> read_ranks(std::string_view bytes, const std::string& file) {
  std::map<uint32_t, std::string> ranks;
  size_t number = 0;
  while (!bytes.empty()) {
    ++number;
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    const std::string_view digits = space == std::string_view::npos ? "" : line.substr(space + 1);
    auto token = from_base64(line.substr(0, std::min(space, line.size())));
    uint32_t rank = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    const bool is_number = error == std::errc() && stop == digits.data() + digits.size();
    if (!token || digits.empty() || !is_number || rank > kMaxRank) {
      fail_tokenizer(kSchema, "{}: line {} is \"{}\"; must be base64, a space and a rank", file, number,
                     core::printable(line, 40));
    }
    if (!ranks.emplace(rank, std::move(*token)).second)
      fail_tokenizer(kVocab, "{}: line {}: rank {} occurs twice", file, number, rank);
  }
  return ranks;
}

void add_special_tokens(const Encoding& encoding, TokenizerSpec& spec) {
  size_t size = encoding.num_reserved > 0 ? encoding.num_ranks + encoding.num_reserved : spec.tokens.size();
  for (const auto& [content, id] : encoding.special) size = std::max(size, static_cast<size_t>(id) + 1);
  spec.tokens.resize(size);
  std::vector<bool> is_special(size, false);
  std::fill(is_special.begin() + spec.num_model_tokens, is_special.end(), true);
  for (const auto& [content, id] : encoding.special) {
    const auto at = static_cast<size_t>(id);
    if (!is_special[at] && spec.tokens[at] != to_byte_level(content))
      fail_tokenizer(kVocab, "{}: id {} is the special token \"{}\" and a rank of the file", spec.source, id,
                     core::printable(content, 40));
    spec.tokens[at] = content;
    is_special[at] = true;
  }
  int reserved = encoding.first_reserved;
  for (size_t id = 0; id < size; ++id) {
    if (!is_special[id]) continue;
    if (spec.tokens[id].empty()) spec.tokens[id] = fmt::format("<|reserved_special_token_{}|>", reserved++);
    spec.added_tokens.push_back(
        {.id = static_cast<TokenId>(id), .content = spec.tokens[id], .special = true});
  }
  const auto id_of = [&](std::string_view content) -> std::optional<TokenId> {
    for (const auto& [text, id] : encoding.special)
      if (text == content) return id;
    return std::nullopt;
  };
  spec.special_tokens = {
      .bos = id_of(encoding.bos), .eos = id_of(encoding.eos), .pad = id_of(encoding.pad), .unk = {}};
  if (spec.special_tokens.bos) spec.prefix = {*spec.special_tokens.bos};
}

}  // namespace

bool is_tiktoken(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, std::min<size_t>(bytes.find('\n'), 4096));
  const size_t space = line.find(' ');
  return space != std::string_view::npos && space > 0 && from_base64(line.substr(0, space)).has_value();
}

TokenizerSpec read_tiktoken(std::string_view bytes, const std::string& file, const std::string& config) {
  const auto ranks = read_ranks(bytes, file);
  const Encoding encoding = find_encoding(ranks.size(), file, config);
  TokenizerSpec spec;
  spec.source = file;
  std::vector<std::string> tokens;
  for (const auto& [rank, token] : ranks) {
    while (tokens.size() < rank) {
      // The rank of a special token: no text leads to what is put here.
      const auto special = std::find_if(
          encoding.special.begin(), encoding.special.end(),
          [&](const auto& entry) { return entry.second == static_cast<TokenId>(tokens.size()); });
      if (special == encoding.special.end())
        fail_tokenizer(kVocab, "{}: rank {} is missing", file, tokens.size());
      tokens.emplace_back(special->first);
    }
    tokens.push_back(token);
  }
  set_byte_ranks(spec, tokens, encoding.pattern);
  add_special_tokens(encoding, spec);
  return spec;
}

}  // namespace phalanx::data
