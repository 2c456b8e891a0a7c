#include "data/tokenizer_config.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "data/tokenizer_json_value.h"

namespace phalanx::data {

namespace {

namespace fs = std::filesystem;
using enum TokenizerErrorKind;

constexpr uintmax_t kMaxFileBytes = uintmax_t{256} << 20;

std::optional<TokenId> find_token(const TokenizerSpec& spec, std::string_view text) {
  for (const AddedToken& token : spec.added_tokens) {
    if (token.content == text) return token.id;
  }
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return found == spec.tokens.end() ? std::nullopt
                                    : std::optional(static_cast<TokenId>(found - spec.tokens.begin()));
}

/// A token is written as its text or as an object with the text in "content".
std::string_view token_text(const JsonValue& value) {
  return value.is_object() ? value.at("content").text() : value.text();
}

void read_special_token(const JsonValue& config, std::string_view key, const TokenizerSpec& spec,
                        std::optional<TokenId>& id) {
  const auto value = config.find(key);
  if (!value || id) return;
  id = find_token(spec, token_text(*value));
  if (!id) {
    value->fail(kVocab, "\"{}\" is not among the {} tokens of tokenizer.json",
                core::printable(token_text(*value), 40), spec.tokens.size());
  }
}

void read_special_tokens(const JsonValue& config, TokenizerSpec& spec) {
  read_special_token(config, "bos_token", spec, spec.special_tokens.bos);
  read_special_token(config, "eos_token", spec, spec.special_tokens.eos);
  read_special_token(config, "pad_token", spec, spec.special_tokens.pad);
  read_special_token(config, "unk_token", spec, spec.special_tokens.unk);
}

void complete_special_tokens(const SpecialTokens& known, TokenizerSpec& spec) {
  SpecialTokens& special = spec.special_tokens;
  if (!special.bos) special.bos = known.bos;
  if (!special.eos) special.eos = known.eos;
  if (!special.pad) special.pad = known.pad;
  if (!special.unk) special.unk = known.unk;
}

TokenId checked_id(const JsonValue& value, const TokenizerSpec& spec) {
  const int64_t id = value.integer();
  if (id < 0 || id >= static_cast<int64_t>(spec.tokens.size())) {
    value.fail(kVocab, "{} is no id of the {} tokens", id, spec.tokens.size());
  }
  return static_cast<TokenId>(id);
}

/// A number or a list of numbers.
std::vector<TokenId> checked_ids(const JsonValue& config, std::string_view key, const TokenizerSpec& spec) {
  std::vector<TokenId> ids;
  const auto value = config.find(key);
  if (!value) return ids;
  if (!value->is_array()) return {checked_id(*value, spec)};
  for (const JsonValue& item : value->items()) ids.push_back(checked_id(item, spec));
  return ids;
}

/// Tokens that transformers would add to tokenizer.json when it loads the folder: the two files do not belong
/// together.
void check_added_tokens_decoder(const JsonValue& config, const TokenizerSpec& spec) {
  const auto decoder = config.find("added_tokens_decoder");
  if (!decoder) return;
  for (const auto field : decoder->object()) {
    const JsonValue token = decoder->at(field.key);
    const std::string_view content = token.at("content").text();
    const auto id = find_token(spec, content);
    if (id && std::to_string(*id) == field.key) continue;
    token.fail(kAddedTokens, "\"{}\" is {} in tokenizer.json; save the tokenizer again with transformers",
               core::printable(content, 40), id ? fmt::format("id {}", *id) : "missing");
  }
}

void read_bos_and_eos_switches(const JsonValue& config, TokenizerSpec& spec) {
  const auto bos = config.find("add_bos_token");
  const auto eos = config.find("add_eos_token");
  if (!bos && !eos) return;
  const auto ids_if = [](const std::optional<JsonValue>& flag, const std::optional<TokenId>& id) {
    return flag && flag->boolean() && id ? std::vector<TokenId>{*id} : std::vector<TokenId>{};
  };
  spec.prefix = ids_if(bos, spec.special_tokens.bos);
  spec.suffix = ids_if(eos, spec.special_tokens.eos);
}

std::string template_of(const JsonValue& config) {
  const auto value = config.find("chat_template");
  if (!value) return {};
  if (value->is_string()) return std::string(value->text());
  for (const JsonValue& entry : value->items()) {
    if (entry.at("name").text() == "default") return std::string(entry.at("template").text());
  }
  return {};
}

}  // namespace

std::string read_tokenizer_file(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    fail_tokenizer(kSchema, "{}: is missing or no regular file; a tokenizer folder holds tokenizer.json",
                   path);
  }
  const uintmax_t size = fs::file_size(path, error);
  if (error || size > kMaxFileBytes) {
    fail_tokenizer(kTooLarge, "{}: has {} bytes, {} at most are read", path, size, kMaxFileBytes);
  }
  std::string bytes(size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), static_cast<std::streamsize>(size));
  if (static_cast<uintmax_t>(file.gcount()) != size)
    fail_tokenizer(kSchema, "{}: cannot be read to its end", path);
  return bytes;
}

std::vector<TokenId> collect_stop_ids(const TokenizerSpec& spec, const std::vector<TokenId>& more) {
  std::vector<TokenId> ids;
  const auto add = [&](TokenId id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  if (spec.special_tokens.eos) add(*spec.special_tokens.eos);
  for (const TokenId id : more) add(id);
  for (const AddedToken& token : spec.added_tokens) {
    constexpr std::string_view kTurnEnds[] = {"<|im_end|>", "<|eot_id|>", "<|eot|>"};
    if (token.special &&
        std::find(std::begin(kTurnEnds), std::end(kTurnEnds), token.content) != std::end(kTurnEnds))
      add(token.id);
  }
  return ids;
}

void read_tokenizer_config(const std::string& folder, TokenizerSpec& spec) {
  const auto path_of = [&](std::string_view name) { return (fs::path(folder) / name).string(); };
  const auto exists = [&](std::string_view name) { return fs::exists(path_of(name)); };
  const auto keep = [&](const char* name) -> const std::string& {
    return spec.files.emplace_back(name, read_tokenizer_file(path_of(name))).second;
  };
  std::string template_in_config;
  const SpecialTokens in_tokenizer = std::exchange(spec.special_tokens, {});  // where the folder says nothing
  if (exists("tokenizer_config.json")) {
    const JsonDocument document(keep("tokenizer_config.json"), path_of("tokenizer_config.json"));
    read_special_tokens(document.root(), spec);
    complete_special_tokens(in_tokenizer, spec);
    check_added_tokens_decoder(document.root(), spec);
    read_bos_and_eos_switches(document.root(), spec);
    template_in_config = template_of(document.root());
  }
  if (exists("special_tokens_map.json")) {
    const JsonDocument document(keep("special_tokens_map.json"), path_of("special_tokens_map.json"));
    read_special_tokens(document.root(), spec);
  }
  complete_special_tokens(in_tokenizer, spec);
  std::vector<TokenId> more_stops;
  if (exists("generation_config.json")) {  // belongs to the model: read, not copied
    const std::string json = read_tokenizer_file(path_of("generation_config.json"));
    const JsonDocument document(json, path_of("generation_config.json"));
    more_stops = checked_ids(document.root(), "eos_token_id", spec);
    const auto complete = [&](std::optional<TokenId>& id, std::string_view key) {
      const auto ids = checked_ids(document.root(), key, spec);
      if (!id && !ids.empty()) id = ids.front();
    };
    complete(spec.special_tokens.bos, "bos_token_id");
    complete(spec.special_tokens.eos, "eos_token_id");
    complete(spec.special_tokens.pad, "pad_token_id");
  }
  for (const char* name : {"added_tokens.json", "vocab.json", "merges.txt"}) {
    if (exists(name)) keep(name);
  }
  spec.chat_template = exists("chat_template.jinja") ? keep("chat_template.jinja") : template_in_config;
  spec.stop_ids = collect_stop_ids(spec, more_stops);
}

}  // namespace phalanx::data
