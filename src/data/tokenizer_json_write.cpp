#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "data/tokenizer_json.h"

namespace phalanx::data {

namespace {

using nlohmann::ordered_json;

std::string quoted(const std::string& text) {
  return ordered_json(text).dump();
}

ordered_json added_tokens(const TokenizerSpec& spec) {
  ordered_json list = ordered_json::array();
  for (const AddedToken& token : spec.added_tokens) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

ordered_json sequence_piece(std::string_view id, int type_id) {
  return {{"Sequence", {{"id", id}, {"type_id", type_id}}}};
}

ordered_json post_processor(const TokenizerSpec& spec) {
  if (spec.prefix.empty() && spec.suffix.empty()) return nullptr;
  ordered_json special = ordered_json::object();
  const auto add = [&](ordered_json& pieces, const std::vector<TokenId>& ids, int type_id) {
    for (const TokenId id : ids) {
      const std::string& token = spec.tokens[static_cast<size_t>(id)];
      pieces.push_back({{"SpecialToken", {{"id", token}, {"type_id", type_id}}}});
      special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
    }
  };
  const auto add_text = [&](ordered_json& pieces, std::string_view name, int type_id) {
    add(pieces, spec.prefix, type_id);
    pieces.push_back(sequence_piece(name, type_id));
    add(pieces, spec.suffix, type_id);
  };
  ordered_json single = ordered_json::array();
  ordered_json pair = ordered_json::array();
  add_text(single, "A", 0);
  add_text(pair, "A", 0);
  add_text(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

// The vocabulary and the merges are written directly: a JSON tree of 100 000 of them would cost more than all
// the rest.
std::string head_of(const ordered_json& head) {
  std::string text = head.dump();
  text.pop_back();
  return text + ",\n\"vocab\": ";
}

std::string vocab_object(const TokenizerSpec& spec) {
  std::string text = "{";
  bool first = true;
  for (size_t id = 0; id < static_cast<size_t>(spec.num_model_tokens); ++id) {
    if (spec.tokens[id].empty()) continue;
    text += fmt::format("{}\n{}: {}", std::exchange(first, false) ? "" : ",", quoted(spec.tokens[id]), id);
  }
  return text + "\n}";
}

ordered_json token_or_null(const TokenizerSpec& spec, const std::optional<TokenId>& id) {
  return id ? ordered_json(spec.tokens[static_cast<size_t>(*id)]) : ordered_json();
}

ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

std::string write_model(const TokenizerSpec& spec, const BpeModel& model) {
  std::string text = head_of({{"type", "BPE"},
                              {"dropout", nullptr},
                              {"unk_token", token_or_null(spec, model.unk)},
                              {"continuing_subword_prefix", text_or_null(model.continuing_subword_prefix)},
                              {"end_of_word_suffix", text_or_null(model.end_of_word_suffix)},
                              {"fuse_unk", model.fuse_unk},
                              {"byte_fallback", model.byte_fallback},
                              {"ignore_merges", model.ignore_merges}});
  text += vocab_object(spec) + ",\n\"merges\": [";
  std::vector<Merge> merges = model.merges;
  std::stable_sort(merges.begin(), merges.end(),
                   [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
  const auto num_tokens = static_cast<TokenId>(spec.tokens.size());
  bool first = true;
  for (const Merge& merge : merges) {
    if (merge.left >= num_tokens || merge.right >= num_tokens) continue;  // of a hidden character
    text += fmt::format("{}\n[{}, {}]", std::exchange(first, false) ? "" : ",",
                        quoted(spec.tokens[static_cast<size_t>(merge.left)]),
                        quoted(spec.tokens[static_cast<size_t>(merge.right)]));
  }
  return text + "\n]}";
}

std::string write_model(const TokenizerSpec& spec, const UnigramModel& model) {
  std::string text =
      head_of({{"type", "Unigram"}, {"unk_id", model.unk ? ordered_json(*model.unk) : ordered_json()}}) + "[";
  for (size_t id = 0; id < static_cast<size_t>(spec.num_model_tokens); ++id) {
    text += fmt::format("{}\n[{}, {}]", id == 0 ? "" : ",", quoted(spec.tokens[id]),
                        ordered_json(model.scores[id]).dump());
  }
  return text + fmt::format("\n],\n\"byte_fallback\": {}}}", model.byte_fallback);
}

std::string write_model(const TokenizerSpec& spec, const WordPieceModel& model) {
  return head_of({{"type", "WordPiece"},
                  {"unk_token", token_or_null(spec, model.unk)},
                  {"continuing_subword_prefix", model.continuing_subword_prefix},
                  {"max_input_chars_per_word", model.max_input_chars_per_word}}) +
         vocab_object(spec) + "}";
}

}  // namespace

std::string write_tokenizer_json(const TokenizerSpec& spec) {
  std::string text = "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null";
  const auto add = [&](std::string_view key, const std::string& value) {
    text += fmt::format(",\n\"{}\": {}", key, value.empty() ? "null" : value);
  };
  add("added_tokens", added_tokens(spec).dump(1));
  add("normalizer", spec.normalizer);
  add("pre_tokenizer", spec.pre_tokenizer);
  add("post_processor", post_processor(spec).dump());
  add("decoder", spec.decoder);
  add("model", std::visit([&](const auto& model) { return write_model(spec, model); }, spec.model));
  return text + "\n}\n";
}

}  // namespace phalanx::data
