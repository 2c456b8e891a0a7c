#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "data/gguf_pre_names.h"
#include "data/sentencepiece_bpe.h"
#include "data/tokenizer_config.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_pipeline.h"
#include "formats/gguf.h"

namespace phalanx::data {

namespace {

using enum TokenizerErrorKind;
using formats::GgufMetadata;

constexpr std::string_view kKeyPrefix = "tokenizer.ggml.";

class Reader {
 public:
  explicit Reader(const GgufMetadata& metadata) : metadata_(metadata) {
    spec_.source = metadata.path().string();
  }

  TokenizerSpec run() {
    const auto model = metadata_.text(key("model"));
    if (model == "gpt2") {
      read_gpt2();
    } else if (model == "llama") {
      read_llama();
    } else {
      fail(kSchema, "model",
           "is \"{}\"; supported are \"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece BPE)",
           core::printable(model, 40));
    }
    if (const auto text = metadata_.find_text("tokenizer.chat_template"))
      spec_.chat_template = std::string(*text);
    spec_.stop_ids = collect_stop_ids(spec_, more_stops());
    return std::move(spec_);
  }

 private:
  static std::string key(std::string_view name) { return std::string(kKeyPrefix) + std::string(name); }

  template <typename... Args>
  [[noreturn]] void fail(TokenizerErrorKind kind, std::string_view name, fmt::format_string<Args...> format,
                         Args&&... args) const {
    fail_tokenizer(kind, "{}: {}{} {}", spec_.source, kKeyPrefix, name,
                   fmt::format(format, std::forward<Args>(args)...));
  }

  void read_gpt2() {
    const GgufPreName& pre = find_pre();
    read_tokens();
    read_merges();
    read_special_tokens();
    set_pre_tokenizer(pre);
    std::get<BpeModel>(spec_.model).ignore_merges = pre.ignore_merges;
    set_post_processor(/*adds_bos=*/pre.adds_bos);
    if (metadata_.find_boolean(key("add_space_prefix")).value_or(false)) {
      fail(kSchema, "add_space_prefix", "is true, which byte-level BPE does not have; supported: false");
    }
  }

  void read_llama() {
    read_tokens();
    const auto scores = metadata_.floats(key("scores"));
    if (scores.size() != spec_.tokens.size())
      fail(kVocab, "scores", "has {} entries, tokens has {}", scores.size(), spec_.tokens.size());
    const auto odd = std::ranges::find_if(scores, [](float score) { return !std::isfinite(score); });
    if (odd != scores.end())
      fail(kVocab, "scores", "has {} for token {}; scores are finite", *odd, odd - scores.begin());
    if (types_.empty()) fail(kVocab, "token_type", "is missing; a vocabulary of model \"llama\" needs it");
    set_sentencepiece_bpe(spec_, scores, types_);
    read_special_tokens();
    set_post_processor(/*adds_bos=*/true);
    const bool adds_space = metadata_.find_boolean(key("add_space_prefix")).value_or(true);
    spec_.normalizer = sentencepiece_escape(adds_space);
    spec_.decoder = sentencepiece_decoder(adds_space);
  }

  const GgufPreName& find_pre() const {
    const auto name = metadata_.find_text(key("pre"));
    std::string known;
    for (const GgufPreName& pre : gguf_pre_names()) {
      if (name == pre.name) return pre;
      known += fmt::format("{}{}", known.empty() ? "" : ", ", pre.name);
    }
    fail(kSchema, "pre", "is {}; supported: {}",
         name ? fmt::format("\"{}\"", core::printable(*name, 40)) : std::string("missing"), known);
  }

  void read_tokens() {
    const auto tokens = metadata_.texts(key("tokens"));
    if (tokens.empty()) fail(kVocab, "tokens", "is empty");
    spec_.tokens.assign(tokens.begin(), tokens.end());
    spec_.num_model_tokens = static_cast<int64_t>(tokens.size());
    ids_.reserve(tokens.size());
    for (size_t id = 0; id < tokens.size(); ++id) {
      const auto [found, is_new] = ids_.emplace(tokens[id], static_cast<TokenId>(id));
      if (!is_new) {
        fail(kVocab, "tokens", "has \"{}\" as id {} and as id {}; each token may occur once",
             core::printable(tokens[id], 40), found->second, id);
      }
    }
    read_token_types();
  }

  void read_token_types() {
    if (!metadata_.has(key("token_type"))) return;
    const auto types = metadata_.integers(key("token_type"));
    if (types.size() != spec_.tokens.size()) {
      fail(kVocab, "token_type", "has {} entries, tokens has {}", types.size(), spec_.tokens.size());
    }
    for (size_t id = 0; id < types.size(); ++id) {
      const int64_t type = types[id];
      if (type < 1 || type > 6) fail(kVocab, "token_type", "entry {} is {}; 1 to 6 are known", id, type);
      types_.push_back(static_cast<PieceType>(type));
      const bool special = types_.back() == PieceType::kControl || types_.back() == PieceType::kUnknown;
      if (!special && types_.back() != PieceType::kUserDefined) continue;
      if (spec_.tokens[id].empty())
        fail(kAddedTokens, "tokens", "entry {} is a control token without text", id);
      spec_.added_tokens.push_back(
          {.id = static_cast<TokenId>(id), .content = spec_.tokens[id], .special = special});
    }
  }

  void read_merges() {
    const auto merges = metadata_.texts(key("merges"));
    auto& model = spec_.model.emplace<BpeModel>();
    model.merges.reserve(merges.size());
    std::string joined;
    for (size_t i = 0; i < merges.size(); ++i) {
      const size_t space = merges[i].find(' ', 1);
      if (space == std::string_view::npos || space + 1 == merges[i].size()) {
        fail(kMerges, "merges", "entry {} is \"{}\"; must be two tokens with a space between", i,
             core::printable(merges[i], 60));
      }
      const std::string_view left = merges[i].substr(0, space);
      const std::string_view right = merges[i].substr(space + 1);
      joined.assign(left).append(right);
      model.merges.push_back({id_of(left, i), id_of(right, i), id_of(joined, i), static_cast<uint32_t>(i)});
    }
  }

  TokenId id_of(std::string_view token, size_t merge) const {
    const auto found = ids_.find(token);
    if (found != ids_.end()) return found->second;
    fail(kMerges, "merges", "entry {} needs the token \"{}\", which the vocabulary lacks", merge,
         core::printable(token, 60));
  }

  std::optional<TokenId> special_id(std::string_view name) const {
    const auto id = metadata_.find_integer(key(name));
    if (!id) return std::nullopt;
    if (*id >= 0 && *id < spec_.num_model_tokens) return static_cast<TokenId>(*id);
    fail(kVocab, name, "is {}; there are {} tokens", *id, spec_.num_model_tokens);
  }

  void read_special_tokens() {
    spec_.special_tokens.bos = special_id("bos_token_id");
    spec_.special_tokens.eos = special_id("eos_token_id");
    spec_.special_tokens.pad = special_id("padding_token_id");
    spec_.special_tokens.unk = special_id("unknown_token_id");
  }

  std::vector<TokenId> more_stops() const {
    std::vector<TokenId> ids;
    for (const std::string_view name : {"eot_token_id", "eom_token_id"}) {
      if (const auto id = special_id(name)) ids.push_back(*id);
    }
    return ids;
  }

  void set_pre_tokenizer(const GgufPreName& pre) {
    const nlohmann::ordered_json bytes = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
    spec_.pre_tokenizer = pre_tokenizer_of(pre);
    spec_.decoder = bytes.dump();
  }

  void set_post_processor(bool adds_bos) {
    const auto add = [&](std::string_view flag, bool when_absent, const std::optional<TokenId>& id,
                         std::vector<TokenId>& target) {
      if (!metadata_.find_boolean(key(flag)).value_or(when_absent)) return;
      if (!id) fail(kPostProcessor, flag, "is set, but the id of that token is missing");
      target.push_back(*id);
    };
    add("add_bos_token", adds_bos, spec_.special_tokens.bos, spec_.prefix);
    add("add_eos_token", false, spec_.special_tokens.eos, spec_.suffix);
  }

  const GgufMetadata& metadata_;
  TokenizerSpec spec_;
  std::vector<PieceType> types_;
  std::unordered_map<std::string_view, TokenId> ids_;
};

}  // namespace

std::shared_ptr<const Tokenizer> load_gguf_tokenizer(const formats::GgufFile& file) {
  return std::make_shared<PipelineTokenizer>(Reader(file.metadata()).run());
}

}  // namespace phalanx::data
