#include <algorithm>
#include <unordered_map>

#include "data/tokenizer_json.h"
#include "data/tokenizer_json_value.h"

namespace phalanx::data {

namespace {

using enum TokenizerErrorKind;
using IdByToken = std::unordered_map<std::string_view, TokenId>;

constexpr int64_t kMaxTokens = 4'000'000;
constexpr double kUnigramUnkPenalty = 10;  // as in SentencePiece

// --- model ---

/// {token: id}; ids may have gaps where added tokens stand.
void read_vocab(const JsonValue& vocab, TokenizerSpec& spec, IdByToken& ids) {
  const auto object = vocab.object();
  int64_t count = 0;
  int64_t last = -1;
  for (const auto field : object) {
    int64_t id;
    if (field.value.get(id) != simdjson::SUCCESS || id < 0 || id >= kMaxTokens) {
      vocab.fail(kVocab, "\"{}\" has id {}; ids are integers from 0 to {}", core::printable(field.key, 40),
                 core::printable(simdjson::minify(field.value), 30), kMaxTokens - 1);
    }
    ++count;
    last = std::max(last, id);
  }
  if (count != last + 1) {
    vocab.fail(kVocab, "has {} tokens and ids up to {}; the ids of the {} tokens must be 0 to {}", count,
               last, count, count - 1);
  }
  std::vector<std::string_view> tokens(static_cast<size_t>(count));
  std::vector<bool> seen(static_cast<size_t>(count), false);
  ids.reserve(static_cast<size_t>(count));
  for (const auto field : object) {
    const auto id = static_cast<size_t>(int64_t(field.value));
    if (seen[id]) {
      vocab.fail(kVocab, "id {} is given to \"{}\" and to \"{}\"; each may be used once", id,
                 core::printable(tokens[id], 40), core::printable(field.key, 40));
    }
    seen[id] = true;
    tokens[id] = field.key;
    ids.emplace(field.key, static_cast<TokenId>(id));
  }
  spec.tokens.assign(tokens.begin(), tokens.end());
  spec.num_model_tokens = count;
}

/// "a b" or ["a", "b"].
std::pair<std::string_view, std::string_view> merge_parts(simdjson::dom::element element,
                                                          const JsonValue& merges, size_t index) {
  std::string_view text;
  simdjson::dom::array pair;
  if (element.get(text) == simdjson::SUCCESS) {
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (element.get(pair) == simdjson::SUCCESS && pair.size() == 2) {
    std::string_view left, right;
    if (pair.at(0).get(left) == simdjson::SUCCESS && pair.at(1).get(right) == simdjson::SUCCESS)
      return {left, right};
  }
  merges.fail(kMerges, "entry {} is {}; must be \"a b\" or [\"a\", \"b\"]", index,
              core::printable(simdjson::minify(element), 60));
}

void read_merges(const JsonValue& merges, TokenizerSpec& spec, const IdByToken& ids) {
  auto& model = std::get<BpeModel>(spec.model);
  const size_t prefix = model.continuing_subword_prefix.size();
  std::string joined;
  size_t index = 0;
  std::optional<bool> all_text;
  const simdjson::dom::array array = merges.array();
  if (array.size() > static_cast<size_t>(kMaxTokens)) {
    merges.fail(kMerges, "has {} entries, {} at most are supported", array.size(), kMaxTokens);
  }
  for (const auto element : array) {
    if (element.is_string() != all_text.value_or(element.is_string())) {
      merges.fail(kMerges,
                  "entry {} is spelt unlike those before it; use \"a b\" or [\"a\", \"b\"] throughout",
                  index);
    }
    all_text = element.is_string();
    const size_t here = index++;
    if (std::string_view text; element.get(text) == simdjson::SUCCESS && text.starts_with("#version"))
      continue;
    const auto parts = merge_parts(element, merges, here);
    const auto left = parts.first, right = parts.second;
    const auto id_of = [&](std::string_view token) {
      const auto found = ids.find(token);
      if (found != ids.end()) return found->second;
      merges.fail(kMerges, "entry {} is \"{}\" + \"{}\", but \"{}\" is not in the vocabulary", here,
                  core::printable(left, 30), core::printable(right, 30), core::printable(token, 60));
    };
    if (left.empty() || right.size() <= prefix) merges.fail(kMerges, "entry {} joins an empty string", here);
    joined.assign(left).append(right.substr(prefix));
    const auto rank = static_cast<uint32_t>(model.merges.size());
    model.merges.push_back({id_of(left), id_of(right), id_of(joined), rank});
  }
}

std::optional<TokenId> read_unk_token(const JsonValue& model, const IdByToken& ids) {
  const auto unk = model.find("unk_token");
  if (!unk) return std::nullopt;
  const auto found = ids.find(unk->text());
  if (found == ids.end())
    unk->fail(kVocab, "\"{}\" is not in the vocabulary", core::printable(unk->text(), 40));
  return found->second;
}

std::string text_or_empty(const JsonValue& value, std::string_view key) {
  const auto text = value.find(key);
  return text ? std::string(text->text()) : std::string();
}

void read_bpe(const JsonValue& json, TokenizerSpec& spec, IdByToken& ids) {
  json.allow_keys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                   "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (const auto dropout = json.find("dropout"); dropout && dropout->number() != 0) {
    dropout->fail(kSchema, "merges are dropped at random; set it to null");
  }
  auto& model = spec.model.emplace<BpeModel>();
  model.ignore_merges = json.flag("ignore_merges", false);
  model.byte_fallback = json.flag("byte_fallback", false);
  model.fuse_unk = json.flag("fuse_unk", false);
  model.continuing_subword_prefix = text_or_empty(json, "continuing_subword_prefix");
  model.end_of_word_suffix = text_or_empty(json, "end_of_word_suffix");
  read_vocab(json.at("vocab"), spec, ids);
  read_merges(json.at("merges"), spec, ids);
  model.unk = read_unk_token(json, ids);
}

void read_unigram(const JsonValue& json, TokenizerSpec& spec, IdByToken& ids) {
  json.allow_keys({"type", "unk_id", "vocab", "byte_fallback"});
  auto& model = spec.model.emplace<UnigramModel>();
  model.byte_fallback = json.flag("byte_fallback", false);
  const JsonValue vocab = json.at("vocab");
  double lowest = 0;
  for (const auto element : vocab.array()) {
    simdjson::dom::array pair;
    std::string_view piece;
    double score = 0;
    if (element.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
        pair.at(0).get(piece) != simdjson::SUCCESS || pair.at(1).get(score) != simdjson::SUCCESS) {
      vocab.fail(kVocab, "entry {} is {}; must be [\"piece\", score]", spec.tokens.size(),
                 core::printable(simdjson::minify(element), 60));
    }
    lowest = spec.tokens.empty() ? score : std::min(lowest, score);
    ids[piece] = static_cast<TokenId>(spec.tokens.size());
    spec.tokens.emplace_back(piece);
    model.scores.push_back(score);
    if (static_cast<int64_t>(spec.tokens.size()) > kMaxTokens)
      vocab.fail(kVocab, "has more than {} tokens", kMaxTokens);
  }
  spec.num_model_tokens = static_cast<int64_t>(spec.tokens.size());
  model.unk_score = lowest - kUnigramUnkPenalty;
  if (const auto unk = json.find("unk_id")) {
    if (unk->integer() < 0 || unk->integer() >= spec.num_model_tokens)
      unk->fail(kVocab, "{} is no id of the {} tokens", unk->integer(), spec.num_model_tokens);
    model.unk = static_cast<TokenId>(unk->integer());
  }
}

void read_wordpiece(const JsonValue& json, TokenizerSpec& spec, IdByToken& ids) {
  json.allow_keys({"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"});
  auto& model = spec.model.emplace<WordPieceModel>();
  read_vocab(json.at("vocab"), spec, ids);
  const auto unk = read_unk_token(json, ids);
  if (!unk) json.fail(kSchema, "the key \"unk_token\" is missing");
  model.unk = *unk;
  if (json.find("continuing_subword_prefix"))
    model.continuing_subword_prefix = text_or_empty(json, "continuing_subword_prefix");
  if (const auto limit = json.find("max_input_chars_per_word")) {
    if (limit->integer() < 0) limit->wrong("0 or more");
    model.max_input_chars_per_word = static_cast<size_t>(limit->integer());
  }
}

/// Files older than the type key: BPE has merges, Unigram a list of pairs.
std::string_view model_type(const JsonValue& model) {
  if (const auto type = model.find("type")) return type->text();
  if (model.find("merges")) return "BPE";
  const auto vocab = model.find("vocab");
  if (vocab && vocab->is_array()) return "Unigram";
  if (vocab && model.find("max_input_chars_per_word")) return "WordPiece";
  model.fail(kSchema, "the key \"type\" is missing");
}

void read_model(const JsonValue& model, TokenizerSpec& spec, IdByToken& ids) {
  const std::string_view type = model_type(model);
  if (type == "BPE") return read_bpe(model, spec, ids);
  if (type == "Unigram") return read_unigram(model, spec, ids);
  if (type == "WordPiece") return read_wordpiece(model, spec, ids);
  model.fail(kSchema, "type {} is not supported; supported: BPE, Unigram, WordPiece",
             core::printable(type, 40));
}

// --- added tokens ---

void read_added_tokens(const JsonValue& list, TokenizerSpec& spec, const IdByToken& ids) {
  std::unordered_map<std::string_view, TokenId> seen;
  std::unordered_map<TokenId, std::string_view> seen_ids;
  for (const JsonValue& item : list.items()) {
    AddedToken token;
    const std::string_view content = item.at("content").text();
    if (content.empty()) item.fail(kAddedTokens, "content is empty");
    token.content = content;
    token.single_word = item.flag("single_word", false);
    token.lstrip = item.flag("lstrip", false);
    token.rstrip = item.flag("rstrip", false);
    token.special = item.flag("special", false);
    token.normalized = item.flag("normalized", !token.special);
    const int64_t id = item.at("id").integer();
    const auto in_model = ids.find(content);
    const int64_t wanted =
        in_model != ids.end() ? in_model->second : static_cast<int64_t>(spec.tokens.size());
    if (!seen.emplace(content, static_cast<TokenId>(id)).second) {
      item.fail(kAddedTokens, "\"{}\" is listed twice", core::printable(content, 40));
    }
    if (id != wanted) {
      item.fail(kAddedTokens, "\"{}\" has id {}, but {} {}", core::printable(content, 40), id,
                in_model != ids.end() ? "the vocabulary gives it" : "the first free id is", wanted);
    }
    token.id = static_cast<TokenId>(id);
    if (in_model == ids.end()) spec.tokens.emplace_back(content);
    spec.added_tokens.push_back(std::move(token));
    if (spec.tokens.size() > static_cast<size_t>(kMaxTokens)) {
      list.fail(kAddedTokens, "makes more than {} tokens", kMaxTokens);
    }
  }
}

// --- post-processor ---

void append_template_ids(const JsonValue& processor, const JsonValue& special, std::vector<TokenId>& out,
                         const TokenizerSpec& spec) {
  const JsonValue name = special.at("id");
  const auto entry = processor.at("special_tokens").find(name.text());
  if (!entry) {
    name.fail(kPostProcessor, "\"{}\" is not among the template's special_tokens",
              core::printable(name.text(), 40));
  }
  for (const JsonValue& id : entry->at("ids").items()) {
    if (id.integer() < 0 || id.integer() >= static_cast<int64_t>(spec.tokens.size())) {
      id.fail(kPostProcessor, "{} is no id of the {} tokens", id.integer(), spec.tokens.size());
    }
    out.push_back(static_cast<TokenId>(id.integer()));
  }
}

void read_template(const JsonValue& processor, TokenizerSpec& spec) {
  std::vector<TokenId> before, behind;
  size_t num_sequences = 0;
  const JsonValue single = processor.at("single");
  for (const JsonValue& piece : single.items()) {
    const auto sequence = piece.find("Sequence");
    const auto special = piece.find("SpecialToken");
    if (sequence.has_value() == special.has_value())
      piece.wrong("{\"Sequence\": ...} or {\"SpecialToken\": ...}");
    if (special) {
      append_template_ids(processor, *special, num_sequences == 0 ? before : behind, spec);
    } else if (sequence->at("id").text() != "A" || ++num_sequences > 1) {
      break;
    }
  }
  if (num_sequences != 1) single.fail(kPostProcessor, "must hold the sequence A once");
  spec.prefix.insert(spec.prefix.begin(), before.begin(), before.end());
  spec.suffix.insert(spec.suffix.end(), behind.begin(), behind.end());
}

/// BertProcessing, RobertaProcessing: cls and sep as [token, id].
TokenId read_token_pair(const JsonValue& pair, const TokenizerSpec& spec) {
  const auto items = pair.items();
  if (items.size() != 2) pair.wrong("[\"token\", id]");
  const int64_t id = items[1].integer();
  if (id < 0 || id >= static_cast<int64_t>(spec.tokens.size()))
    pair.fail(kPostProcessor, "{} is no id of the {} tokens", id, spec.tokens.size());
  return static_cast<TokenId>(id);
}

void read_post_processor(const JsonValue& processor, TokenizerSpec& spec) {
  const std::string_view type = processor.type();
  if (type == "ByteLevel") return;  // trims offsets; ids stay as they are
  if (type == "TemplateProcessing") {
    processor.allow_keys({"type", "single", "pair", "special_tokens"});
    return read_template(processor, spec);
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    processor.allow_keys({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
    spec.prefix.insert(spec.prefix.begin(), read_token_pair(processor.at("cls"), spec));
    spec.suffix.push_back(read_token_pair(processor.at("sep"), spec));
    return;
  }
  if (type != "Sequence") {
    processor.fail(
        kSchema,
        "type {} is not supported; supported: TemplateProcessing, BertProcessing, RobertaProcessing, "
        "ByteLevel, Sequence",
        core::printable(type, 40));
  }
  for (const JsonValue& part : processor.at("processors").items()) read_post_processor(part, spec);
}

std::string part_of(const JsonValue& root, std::string_view key) {
  const auto part = root.find(key);
  return part ? part->json() : std::string();
}

}  // namespace

TokenizerSpec read_tokenizer_json(std::string_view json, const std::string& file) {
  const JsonDocument document(json, file);
  const JsonValue root = document.root();
  if (const JsonValue version = root.at("version"); version.text() != "1.0") version.wrong("\"1.0\"");
  root.allow_keys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                   "post_processor", "decoder", "model"});
  TokenizerSpec spec;
  spec.source = file;
  IdByToken ids;
  read_model(root.at("model"), spec, ids);
  if (const auto list = root.find("added_tokens")) read_added_tokens(*list, spec, ids);
  spec.normalizer = part_of(root, "normalizer");
  spec.pre_tokenizer = part_of(root, "pre_tokenizer");
  spec.decoder = part_of(root, "decoder");
  if (const auto processor = root.find("post_processor")) read_post_processor(*processor, spec);
  return spec;
}

}  // namespace phalanx::data
