#include <fmt/core.h>

#include <nlohmann/json.hpp>

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

std::string_view behavior_name(SplitBehavior behavior) {
  constexpr std::string_view kNames[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                         "Contiguous"};
  return kNames[static_cast<size_t>(behavior)];
}

ordered_json byte_level(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

ordered_json pre_tokenizer_step(const PreTokenizerStep& step) {
  switch (step.kind) {
    case PreTokenizerStep::Kind::kDigits:
      return {{"type", "Digits"}, {"individual_digits", step.individual_digits}};
    case PreTokenizerStep::Kind::kByteLevel:
      return byte_level(step.add_prefix_space, step.use_regex);
    case PreTokenizerStep::Kind::kSplit:
      break;
  }
  return {{"type", "Split"},
          {"pattern", {{step.pattern_is_regex ? "Regex" : "String", step.pattern}}},
          {"behavior", behavior_name(step.behavior)},
          {"invert", step.invert}};
}

ordered_json pre_tokenizer(const TokenizerSpec& spec) {
  if (spec.pre_tokenizer.size() == 1) return pre_tokenizer_step(spec.pre_tokenizer.front());
  ordered_json steps = ordered_json::array();
  for (const PreTokenizerStep& step : spec.pre_tokenizer) steps.push_back(pre_tokenizer_step(step));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

ordered_json sequence_piece(std::string_view id, int type_id) {
  return {{"Sequence", {{"id", id}, {"type_id", type_id}}}};
}

ordered_json post_processor(const TokenizerSpec& spec) {
  if (spec.prefix.empty() && spec.suffix.empty())
    return byte_level(/*add_prefix_space=*/false, /*use_regex=*/true);
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
std::string model(const TokenizerSpec& spec) {
  ordered_json head = {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", spec.fuse_unk},
                       {"byte_fallback", false},
                       {"ignore_merges", spec.ignore_merges}};
  if (spec.model_unk) head["unk_token"] = spec.tokens[static_cast<size_t>(*spec.model_unk)];
  std::string text = head.dump();
  text.pop_back();
  text += ",\n\"vocab\": {";
  for (size_t id = 0; id < static_cast<size_t>(spec.num_model_tokens); ++id) {
    text += fmt::format("{}\n{}: {}", id == 0 ? "" : ",", quoted(spec.tokens[id]), id);
  }
  text += "\n},\n\"merges\": [";
  for (size_t i = 0; i < spec.merges.size(); ++i) {
    const Merge& merge = spec.merges[i];
    text +=
        fmt::format("{}\n[{}, {}]", i == 0 ? "" : ",", quoted(spec.tokens[static_cast<size_t>(merge.left)]),
                    quoted(spec.tokens[static_cast<size_t>(merge.right)]));
  }
  return text + "\n]}";
}

}  // namespace

std::string write_tokenizer_json(const TokenizerSpec& spec) {
  const ordered_json normalizer = spec.normalize_nfc ? ordered_json{{"type", "NFC"}} : ordered_json();
  std::string text = "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null";
  const auto add = [&](std::string_view key, const std::string& value) {
    text += fmt::format(",\n\"{}\": {}", key, value);
  };
  add("added_tokens", added_tokens(spec).dump(1));
  add("normalizer", normalizer.dump());
  add("pre_tokenizer", pre_tokenizer(spec).dump());
  add("post_processor", post_processor(spec).dump());
  add("decoder", byte_level(/*add_prefix_space=*/true, /*use_regex=*/true).dump());
  add("model", model(spec));
  return text + "\n}\n";
}

}  // namespace phalanx::data
