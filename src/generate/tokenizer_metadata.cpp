#include "generate/tokenizer_metadata.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "data/gguf_pre_names.h"

namespace phalanx::generate {
namespace {

using nlohmann::ordered_json;
constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;
enum TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

/// tokenizer.json is the one description that every tokenizer can give of itself.
ordered_json as_json(const data::Tokenizer& tokenizer) {
  std::string folder = (std::filesystem::temp_directory_path() / "phalanx-tokenizer-XXXXXX").string();
  if (!mkdtemp(folder.data())) core::fail(core::ExitCode::kStorage, "{}: cannot be created", folder);
  tokenizer.save_hf(folder);
  const std::string path = folder + "/tokenizer.json";
  if (!std::filesystem::exists(path)) {
    std::filesystem::remove_all(folder);
    core::fail(core::ExitCode::kBadInput,
               "the tokenizer cannot be written as tokenizer.json (its SentencePiece normalizer has no equal "
               "there), which "
               "a GGUF file is made from; export to a Hugging Face folder instead");
  }
  ordered_json json = core::parse_json(core::read_file(path, kMaxTokenizerBytes), path);
  std::filesystem::remove_all(folder);
  return json;
}

std::string names_of_pre_tokenizers() {
  std::string names;
  for (const data::GgufPreName& pre : data::gguf_pre_names())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", pre.name);
  return names;
}

/// GGUF's name of the splitting pattern: it has no place for the pattern itself.
std::string pre_name(const ordered_json& tokenizer) {
  const ordered_json& model = tokenizer.at("model");
  const std::string name = model.value("type", "") == "BPE"
                               ? data::gguf_pre_name(tokenizer.value("pre_tokenizer", ordered_json()).dump(),
                                                     model.value("ignore_merges", false))
                               : "";
  if (name.empty())
    core::fail(core::ExitCode::kBadInput,
               "the tokenizer has no name in GGUF; known are byte-level BPE that splits as {}, and "
               "SentencePiece-style BPE with byte fallback and no pre-tokenizer",
               names_of_pre_tokenizers());
  return name;
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
};

Vocabulary vocabulary(const ordered_json& tokenizer, int64_t num_rows) {
  Vocabulary result;
  for (int64_t i = 0; i < num_rows; ++i) result.tokens.push_back(fmt::format("[PAD{}]", i));
  result.types.assign(static_cast<size_t>(num_rows), kUnused);
  const auto put = [&](int64_t id, const std::string& token, TokenType type) {
    if (id < 0 || id >= num_rows) {
      core::fail(core::ExitCode::kBadInput, "token {} has id {} but the embedding has {} rows",
                 core::printable(token, 40), id, num_rows);
    }
    result.tokens[static_cast<size_t>(id)] = token;
    result.types[static_cast<size_t>(id)] = type;
  };
  for (const auto& [token, id] : tokenizer.at("model").at("vocab").items())
    put(id.get<int64_t>(), token, kNormal);
  for (const auto& added : tokenizer.value("added_tokens", ordered_json::array())) {
    put(added.at("id").get<int64_t>(), added.at("content").get<std::string>(),
        added.value("special", false) ? kControl : kUserDefined);
  }
  return result;
}

std::vector<std::string> merges(const ordered_json& tokenizer) {
  std::vector<std::string> result;
  for (const auto& merge : tokenizer.at("model").at("merges")) {
    result.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
  }
  return result;
}

bool is_byte_token(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
}

/// Is a part of tokenizer.json, or one of its parts where it is a Sequence, this?
bool has_part(const ordered_json& part, const ordered_json& wanted) {
  if (!part.is_object()) return false;
  for (const char* list : {"normalizers", "decoders"}) {
    for (const auto& inner : part.value(list, ordered_json::array()))
      if (has_part(inner, wanted)) return true;
  }
  return part == wanted;
}

/// SentencePiece-style BPE as GGUF's model "llama" runs it: characters from the highest score on, byte
/// fallback.
bool is_sentencepiece_bpe(const ordered_json& tokenizer) {
  const ordered_json& model = tokenizer.at("model");
  const ordered_json normalizer = tokenizer.value("normalizer", ordered_json());
  // Gemma's splits at spaces, of which its normalizer leaves none.
  const ordered_json at_spaces = {{"type", "Split"},
                                  {"pattern", {{"String", " "}}},
                                  {"behavior", "MergedWithPrevious"},
                                  {"invert", false}};
  const ordered_json pre_tokenizer = tokenizer.value("pre_tokenizer", ordered_json());
  return model.value("type", "") == "BPE" && model.value("byte_fallback", false) &&
         (pre_tokenizer.is_null() || pre_tokenizer == at_spaces) &&
         has_part(normalizer, {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}});
}

/// Of each token, minus the place of the first merge that makes it; what no merge makes has the lowest.
std::vector<float> scores(const ordered_json& tokenizer, const Vocabulary& words) {
  std::unordered_map<std::string, float> of_token;
  float place = 0;
  for (const std::string& merge : merges(tokenizer)) {
    const size_t space = merge.find(' ');
    of_token.emplace(merge.substr(0, space) + merge.substr(space + 1), -place);
    place += 1;
  }
  std::vector<float> result;
  for (size_t id = 0; id < words.tokens.size(); ++id) {
    const auto found = of_token.find(words.tokens[id]);
    const bool is_text = words.types[id] == kNormal;
    result.push_back(!is_text ? 0.0f : found == of_token.end() ? -place : found->second);
  }
  return result;
}

void add_sentencepiece_keys(const ordered_json& json, Vocabulary words, formats::GgufPairs& pairs) {
  const ordered_json unk = json.at("model").value("unk_token", ordered_json());
  for (size_t id = 0; id < words.tokens.size(); ++id) {
    if (is_byte_token(words.tokens[id])) words.types[id] = kByte;
    if (unk.is_string() && unk.get<std::string>() == words.tokens[id]) words.types[id] = kUnknown;
  }
  pairs.text("tokenizer.ggml.model", "llama").text("tokenizer.ggml.pre", "default");
  pairs.texts("tokenizer.ggml.tokens", words.tokens).i32s("tokenizer.ggml.token_type", words.types);
  pairs.f32s("tokenizer.ggml.scores", scores(json, words));
  pairs.boolean("tokenizer.ggml.add_space_prefix",
                has_part(json.at("normalizer"), {{"type", "Prepend"}, {"prepend", "▁"}}));
}

/// Tokens that end a turn beside eos: GGUF has two keys for those.
void add_stop_keys(const data::Tokenizer& tokenizer, formats::GgufPairs& pairs) {
  std::vector<std::string> keys = {"tokenizer.ggml.eom_token_id", "tokenizer.ggml.eot_token_id"};
  for (const data::TokenId id : tokenizer.stop_ids()) {
    if (tokenizer.special_tokens().eos == id) continue;
    if (keys.empty()) {
      core::log_note("stop token {} has no key in GGUF, which has three; engines go by its text", id);
      continue;
    }
    pairs.u32(keys.back(), static_cast<uint32_t>(id));
    keys.pop_back();
  }
}

}  // namespace

void add_tokenizer_keys(const data::Tokenizer& tokenizer, int64_t num_rows, formats::GgufPairs& pairs) {
  const ordered_json json = as_json(tokenizer);
  const Vocabulary words = vocabulary(json, num_rows);
  if (is_sentencepiece_bpe(json)) {
    add_sentencepiece_keys(json, words, pairs);
  } else {
    pairs.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", pre_name(json));
    pairs.texts("tokenizer.ggml.tokens", words.tokens).i32s("tokenizer.ggml.token_type", words.types);
    pairs.texts("tokenizer.ggml.merges", merges(json));
  }
  const auto& special = tokenizer.special_tokens();
  const auto put = [&](const char* key, const std::optional<data::TokenId>& id) {
    if (id) pairs.u32(key, static_cast<uint32_t>(*id));
  };
  put("tokenizer.ggml.bos_token_id", special.bos);
  put("tokenizer.ggml.eos_token_id", special.eos);
  put("tokenizer.ggml.padding_token_id", special.pad);
  put("tokenizer.ggml.unknown_token_id", special.unk);
  const std::vector<data::TokenId> around = tokenizer.encode_with_post_processor("");
  pairs.boolean("tokenizer.ggml.add_bos_token",
                special.bos && !around.empty() && around.front() == *special.bos);
  pairs.boolean("tokenizer.ggml.add_eos_token", special.eos && !around.empty() &&
                                                    around.back() == *special.eos &&
                                                    (around.size() > 1 || special.bos != special.eos));
  add_stop_keys(tokenizer, pairs);
  if (!tokenizer.chat_template().empty()) pairs.text("tokenizer.chat_template", tokenizer.chat_template());
}

}  // namespace phalanx::generate
