#include <bitset>
#include <unordered_map>

#include "data/bpe_alphabet.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_json_value.h"

namespace phalanx::data {

namespace {

using enum TokenizerErrorKind;
using IdByToken = std::unordered_map<std::string_view, TokenId>;

constexpr int64_t kMaxTokens = 4'000'000;

[[noreturn]] void unsupported(const JsonValue& value, std::string_view supported) {
  value.fail(kSchema, "type {} is not supported; supported: {}", core::printable(value.type(), 40),
             supported);
}

// --- model ---

void read_vocab(const JsonValue& vocab, TokenizerSpec& spec, IdByToken& ids) {
  const auto object = vocab.object();
  int64_t count = 0;
  for ([[maybe_unused]] const auto field : object) ++count;
  if (count > kMaxTokens) vocab.fail(kVocab, "has {} tokens, {} at most are supported", count, kMaxTokens);
  std::vector<std::string_view> tokens(static_cast<size_t>(count));
  std::vector<bool> seen(static_cast<size_t>(count), false);
  ids.reserve(static_cast<size_t>(count));
  for (const auto field : object) {
    int64_t id;
    if (field.value.get(id) != simdjson::SUCCESS || id < 0 || id >= count) {
      vocab.fail(kVocab, "\"{}\" has id {}; the ids of the {} tokens must be the integers 0 to {}",
                 core::printable(field.key, 40), core::printable(simdjson::minify(field.value), 30), count,
                 count - 1);
    }
    if (seen[static_cast<size_t>(id)]) {
      vocab.fail(kVocab, "id {} is given to \"{}\" and to \"{}\"; each may be used once", id,
                 core::printable(tokens[static_cast<size_t>(id)], 40), core::printable(field.key, 40));
    }
    seen[static_cast<size_t>(id)] = true;
    tokens[static_cast<size_t>(id)] = field.key;
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
    const auto [left, right] = merge_parts(element, merges, here);
    const auto id_of = [&](std::string_view token) {
      const auto found = ids.find(token);
      if (found != ids.end()) return found->second;
      merges.fail(kMerges, "entry {} is \"{}\" + \"{}\", but \"{}\" is not in the vocabulary", here,
                  core::printable(left, 30), core::printable(right, 30), core::printable(token, 60));
    };
    joined.assign(left).append(right);
    if (left.empty() || right.empty()) merges.fail(kMerges, "entry {} joins an empty string", here);
    spec.merges.push_back({id_of(left), id_of(right), id_of(joined)});
  }
}

bool has_every_byte(const TokenizerSpec& spec) {
  std::bitset<256> seen;
  for (const std::string& token : spec.tokens) {
    const auto bytes = from_byte_level(token);
    if (bytes && bytes->size() == 1) seen.set(static_cast<uint8_t>(bytes->front()));
  }
  return seen.all();
}

void read_model(const JsonValue& model, TokenizerSpec& spec, IdByToken& ids) {
  // Files older than the type key are BPE when they have merges.
  if (const auto type = model.find("type");
      type ? type->text() != "BPE" : !model.find("merges").has_value()) {
    if (!type) model.fail(kSchema, "the key \"type\" is missing");
    unsupported(model, "BPE (byte-level)");
  }
  if (const auto dropout = model.find("dropout"); dropout && dropout->number() != 0) {
    dropout->fail(kSchema, "merges are dropped at random; set it to null");
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto value = model.find(key);
    if (value && !value->text().empty())
      value->fail(kSchema, "is \"{}\", but byte-level BPE has none; set it to null",
                  core::printable(value->text(), 30));
  }
  spec.ignore_merges = model.flag("ignore_merges", false);
  spec.fuse_unk = model.flag("fuse_unk", false);
  read_vocab(model.at("vocab"), spec, ids);
  read_merges(model.at("merges"), spec, ids);
  if (const auto unk = model.find("unk_token")) {
    const auto found = ids.find(unk->text());
    if (found == ids.end())
      unk->fail(kVocab, "\"{}\" is not in the vocabulary", core::printable(unk->text(), 40));
    spec.model_unk = found->second;
  }
  if (model.flag("byte_fallback", false) && !has_every_byte(spec)) {
    model.fail(
        kVocab,
        "byte_fallback is on and the vocabulary lacks some of the 256 bytes; supported is a vocabulary with "
        "all of them");
  }
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

// --- normalizer, pre-tokenizer ---

void read_normalizer(const JsonValue& normalizer, TokenizerSpec& spec) {
  const std::string_view type = normalizer.type();
  if (type == "NFC") {
    spec.normalize_nfc = true;
  } else if (type == "Sequence") {
    for (const JsonValue& part : normalizer.at("normalizers").items()) read_normalizer(part, spec);
  } else {
    unsupported(normalizer, "NFC, Sequence, none");
  }
}

SplitBehavior read_behavior(const JsonValue& value) {
  static constexpr std::pair<std::string_view, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  for (const auto& [name, behavior] : kNames) {
    if (value.text() == name) return behavior;
  }
  value.wrong("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

void read_split(const JsonValue& split, PreTokenizerStep& step) {
  const JsonValue pattern = split.at("pattern");
  const auto regex = pattern.find("Regex");
  const auto literal = pattern.find("String");
  if (regex.has_value() == literal.has_value()) pattern.wrong("{\"Regex\": ...} or {\"String\": ...}");
  step.pattern_is_regex = regex.has_value();
  step.pattern = std::string(regex ? regex->text() : literal->text());
  step.behavior = read_behavior(split.at("behavior"));
  step.invert = split.at("invert").boolean();
}

void read_pre_tokenizer(const JsonValue& value, TokenizerSpec& spec) {
  const std::string_view type = value.type();
  if (type == "Sequence") {
    for (const JsonValue& part : value.at("pretokenizers").items()) read_pre_tokenizer(part, spec);
    return;
  }
  if (!spec.pre_tokenizer.empty() && spec.pre_tokenizer.back().kind == PreTokenizerStep::Kind::kByteLevel) {
    value.fail(kSchema, "stands behind ByteLevel, which must be the last pre-tokenizer");
  }
  PreTokenizerStep step;
  if (type == "ByteLevel") {
    step.kind = PreTokenizerStep::Kind::kByteLevel;
    step.add_prefix_space = value.at("add_prefix_space").boolean();
    step.use_regex = value.flag("use_regex", true);
  } else if (type == "Digits") {
    step.kind = PreTokenizerStep::Kind::kDigits;
    step.individual_digits = value.at("individual_digits").boolean();
  } else if (type == "Split") {
    step.kind = PreTokenizerStep::Kind::kSplit;
    read_split(value, step);
  } else {
    unsupported(value, "ByteLevel, Split, Digits, Sequence");
  }
  spec.pre_tokenizer.push_back(std::move(step));
}

// --- post-processor, decoder ---

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

void read_post_processor(const JsonValue& processor, TokenizerSpec& spec) {
  const std::string_view type = processor.type();
  if (type == "TemplateProcessing") return read_template(processor, spec);
  if (type == "ByteLevel") return;  // trims offsets; ids stay as they are
  if (type != "Sequence") unsupported(processor, "ByteLevel, TemplateProcessing, Sequence, none");
  for (const JsonValue& part : processor.at("processors").items()) read_post_processor(part, spec);
}

void read_decoder(const JsonValue& decoder) {
  if (decoder.type() == "ByteLevel") return;
  if (decoder.type() == "Sequence") {
    const auto parts = decoder.at("decoders").items();
    if (parts.size() == 1) return read_decoder(parts.front());
  }
  unsupported(decoder, "ByteLevel");
}

}  // namespace

TokenizerSpec read_tokenizer_json(std::string_view json, const std::string& file) {
  const JsonDocument document(json, file);
  const JsonValue root = document.root();
  if (const JsonValue version = root.at("version"); version.text() != "1.0") version.wrong("\"1.0\"");
  TokenizerSpec spec;
  spec.source = file;
  IdByToken ids;
  read_model(root.at("model"), spec, ids);
  if (const auto list = root.find("added_tokens")) read_added_tokens(*list, spec, ids);
  if (const auto normalizer = root.find("normalizer")) read_normalizer(*normalizer, spec);
  if (const auto pre_tokenizer = root.find("pre_tokenizer")) read_pre_tokenizer(*pre_tokenizer, spec);
  if (spec.pre_tokenizer.empty() || spec.pre_tokenizer.back().kind != PreTokenizerStep::Kind::kByteLevel) {
    root.fail(kSchema, "pre_tokenizer has no ByteLevel at its end; supported is byte-level BPE");
  }
  if (const auto processor = root.find("post_processor")) read_post_processor(*processor, spec);
  read_decoder(root.at("decoder"));
  return spec;
}

}  // namespace phalanx::data
