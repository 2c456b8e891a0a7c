#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/base64.h"
#include "data/byte_ranks.h"
#include "data/tokenizer_formats.h"
#include "data/tokenizer_json_value.h"

namespace phalanx::data {

namespace {

using enum TokenizerErrorKind;

/// The names of files older than the key "special_tokens".
constexpr std::string_view kOldSpecialTokens[] = {"<unk>",
                                                  "<s>",
                                                  "</s>",
                                                  "[INST]",
                                                  "[/INST]",
                                                  "[AVAILABLE_TOOLS]",
                                                  "[/AVAILABLE_TOOLS]",
                                                  "[TOOL_RESULTS]",
                                                  "[/TOOL_RESULTS]",
                                                  "[TOOL_CALLS]",
                                                  "[IMG]",
                                                  "<pad>",
                                                  "[IMG_BREAK]",
                                                  "[IMG_END]",
                                                  "[PREFIX]",
                                                  "[MIDDLE]",
                                                  "[SUFFIX]",
                                                  "[SYSTEM_PROMPT]",
                                                  "[/SYSTEM_PROMPT]",
                                                  "[TOOL_CONTENT]"};

size_t checked_count(const JsonValue& value, size_t most) {
  const int64_t count = value.integer();
  if (count < 0 || static_cast<uint64_t>(count) > most)
    value.fail(kVocab, "{} is not from 0 to {}", count, most);
  return static_cast<size_t>(count);
}

std::vector<std::string> special_names(const JsonValue& root, size_t count) {
  std::vector<std::string> names;
  for (size_t id = 0; id < count; ++id) names.push_back(fmt::format("<SPECIAL_{}>", id));
  const auto list = root.find("special_tokens");
  if (!list) {
    for (size_t id = 0; id < std::min(count, std::size(kOldSpecialTokens)); ++id)
      names[id] = kOldSpecialTokens[id];
    return names;
  }
  for (const JsonValue& token : list->items()) {
    const size_t id = checked_count(token.at("rank"), count);
    if (id == count) token.fail(kVocab, "rank {} is not below default_num_special_tokens", id);
    names[id] = token.at("token_str").text();
  }
  return names;
}

}  // namespace

bool is_tekken(std::string_view bytes) {
  const std::string_view head = bytes.substr(0, 4096);
  return head.find("\"num_vocab_tokens\"") != std::string_view::npos ||
         head.find("\"default_num_special_tokens\"") != std::string_view::npos;
}

TokenizerSpec read_tekken(std::string_view bytes, const std::string& file) {
  const JsonDocument document(bytes, file);
  const JsonValue config = document.root().at("config");
  const size_t num_special = checked_count(config.at("default_num_special_tokens"), 1'000'000);
  const JsonValue vocab = document.root().at("vocab");
  const size_t num_entries = vocab.array().size();
  const size_t size = checked_count(config.at("default_vocab_size"), num_entries + num_special);
  if (size <= num_special) config.fail(kVocab, "default_vocab_size is {}, all of it special tokens", size);

  TokenizerSpec spec;
  spec.source = file;
  spec.tokens = special_names(document.root(), num_special);
  for (size_t id = 0; id < num_special; ++id)
    spec.added_tokens.push_back(
        {.id = static_cast<TokenId>(id), .content = spec.tokens[id], .special = true});
  std::vector<std::string> tokens;
  for (const auto element : vocab.array()) {  // in the order of ranks
    if (tokens.size() == size - num_special) break;
    std::string_view base64;
    int64_t rank = -1;
    if (element["token_bytes"].get(base64) != simdjson::SUCCESS ||
        element["rank"].get(rank) != simdjson::SUCCESS || rank != static_cast<int64_t>(tokens.size())) {
      vocab.fail(kVocab, "entry {} must have rank {} and token_bytes", tokens.size(), tokens.size());
    }
    auto token = from_base64(base64);
    if (!token) vocab.fail(kVocab, "entry {}: token_bytes is not base64", tokens.size());
    tokens.push_back(std::move(*token));
  }
  set_byte_ranks(spec, tokens, config.at("pattern").text());
  const auto id_of = [&](std::string_view name) -> std::optional<TokenId> {
    for (size_t id = 0; id < num_special; ++id)
      if (spec.tokens[id] == name) return static_cast<TokenId>(id);
    return std::nullopt;
  };
  spec.special_tokens = {
      .bos = id_of("<s>"), .eos = id_of("</s>"), .pad = id_of("<pad>"), .unk = id_of("<unk>")};
  if (spec.special_tokens.bos) spec.prefix = {*spec.special_tokens.bos};
  return spec;
}

}  // namespace phalanx::data
