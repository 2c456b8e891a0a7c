#include <algorithm>
#include <charconv>
#include <map>

#include "data/base64.h"
#include "data/byte_ranks.h"
#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_formats.h"

namespace phalanx::data {

namespace {

using enum TokenizerErrorKind;

constexpr std::string_view kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// What a tiktoken file leaves out.
struct Encoding {
  std::string_view name;
  size_t num_ranks;
  std::string_view pattern;
  std::vector<std::pair<std::string_view, TokenId>> special;
  size_t num_reserved = 0;  ///< special tokens from num_ranks on, those without a name included
  std::string_view bos = {}, eos = {}, pad = {};
};

const std::vector<Encoding>& encodings() {
  static const std::vector<Encoding> all = {
      {.name = "gpt2, r50k_base",
       .num_ranks = 50256,
       .pattern = pattern_text(KnownPattern::kGpt2),
       .special = {{"<|endoftext|>", 50256}},
       .eos = "<|endoftext|>"},
      {.name = "p50k_base",
       .num_ranks = 50280,
       .pattern = pattern_text(KnownPattern::kGpt2),
       .special = {{"<|endoftext|>", 50256}},
       .eos = "<|endoftext|>"},
      {.name = "cl100k_base",
       .num_ranks = 100256,
       .pattern = pattern_text(KnownPattern::kLlama3),
       .special = {{"<|endoftext|>", 100257},
                   {"<|fim_prefix|>", 100258},
                   {"<|fim_middle|>", 100259},
                   {"<|fim_suffix|>", 100260},
                   {"<|endofprompt|>", 100276}},
       .eos = "<|endoftext|>"},
      {.name = "o200k_base",
       .num_ranks = 199998,
       .pattern = kO200kPattern,
       .special = {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}},
       .eos = "<|endoftext|>"},
      {.name = "Llama 3",
       .num_ranks = 128000,
       .pattern = pattern_text(KnownPattern::kLlama3),
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
  };
  return all;
}

const Encoding& find_encoding(size_t num_ranks, const std::string& file) {
  std::string known;
  for (const Encoding& encoding : encodings()) {
    if (encoding.num_ranks == num_ranks) return encoding;
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", encoding.num_ranks, encoding.name);
  }
  fail_tokenizer(
      kVocab,
      "{}: has {} ranks; a tiktoken file does not say how it splits text, which is known for {}; use the "
      "model's tokenizer.json",
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
    if (!token || digits.empty() || !is_number || rank > 4'000'000) {
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
  for (const auto& [content, id] : encoding.special) spec.tokens[static_cast<size_t>(id)] = content;
  int reserved = 2;
  for (size_t id = 0; id < size; ++id) {
    const bool is_special =
        static_cast<int64_t>(id) >= spec.num_model_tokens || spec.tokens[id].starts_with("<|endoftext|>");
    if (!is_special) continue;
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

TokenizerSpec read_tiktoken(std::string_view bytes, const std::string& file) {
  const auto ranks = read_ranks(bytes, file);
  const Encoding& encoding = find_encoding(ranks.size(), file);
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
