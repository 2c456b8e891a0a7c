#include "data/gguf_pre_names.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer_formats.h"

namespace phalanx::data {

namespace {

using nlohmann::ordered_json;

/// One step of tokenizer.json's pre_tokenizer, without what does not change the ids.
ordered_json essence(const ordered_json& step) {
  ordered_json kept = step;
  kept.erase("trim_offsets");
  return kept;
}

ordered_json split_at(std::string_view pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

ordered_json to_bytes(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

std::vector<ordered_json> steps_of(const GgufPreName& pre, bool splits_by_bytes) {
  std::vector<ordered_json> steps;
  if (pre.digits_alone) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!splits_by_bytes) steps.push_back(split_at(pre.pattern));
  steps.push_back(to_bytes(splits_by_bytes));
  return steps;
}

bool equal_steps(const std::vector<ordered_json>& a, const std::vector<ordered_json>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (nlohmann::json(essence(a[i])) != nlohmann::json(essence(b[i]))) return false;
  return true;
}

/// The ByteLevel step splits as GPT-2 does by itself.
bool is_gpt2(const GgufPreName& pre) {
  return pre.pattern == pattern_text(KnownPattern::kGpt2);
}

}  // namespace

std::span<const GgufPreName> gguf_pre_names() {
  static const std::string_view gpt2 = pattern_text(KnownPattern::kGpt2),
                                llama3 = pattern_text(KnownPattern::kLlama3),
                                qwen2 = pattern_text(KnownPattern::kQwen2);
  static const GgufPreName names[] = {
      {"gpt-2", gpt2, false, false, false},
      {"phi-2", gpt2, false, false, false},
      {"olmo", gpt2, false, false, false},
      {"smollm", gpt2, true, false, false},
      {"starcoder", gpt2, true, false, false},
      {"refact", gpt2, true, false, false},
      {"command-r", gpt2, true, false, false},
      {"codeshell", gpt2, true, false, false},
      {"llama-bpe", llama3, false, true, true},
      {"llama3", llama3, false, true, true},
      {"llama-v3", llama3, false, true, true},
      {"dbrx", llama3, false, false, false},
      {"smaug-bpe", llama3, false, false, false},
      {"qwen2", qwen2, false, false, false},
      {"deepseek-r1-qwen", qwen2, false, false, false},
      {"gpt-4o", pattern_text(KnownPattern::kO200k), false, false, false},
      {"tekken", pattern_text(KnownPattern::kTekken), false, true, true},
  };
  return names;
}

std::string gguf_pre_name(const std::string& pre_tokenizer, bool ignore_merges) {
  if (pre_tokenizer.empty()) return "";
  const ordered_json json = ordered_json::parse(pre_tokenizer, nullptr, false);
  if (!json.is_object()) return "";
  std::vector<ordered_json> steps = {json};
  if (json.value("type", "") == "Sequence") {
    steps.clear();
    for (const ordered_json& step : json.value("pretokenizers", ordered_json::array())) steps.push_back(step);
  }
  for (const GgufPreName& pre : gguf_pre_names()) {
    if (pre.ignore_merges != ignore_merges) continue;
    if (equal_steps(steps, steps_of(pre, false)) || (is_gpt2(pre) && equal_steps(steps, steps_of(pre, true))))
      return std::string(pre.name);
  }
  return "";
}

std::string pre_tokenizer_of(const GgufPreName& pre) {
  const std::vector<ordered_json> steps = steps_of(pre, is_gpt2(pre));
  if (steps.size() == 1) return steps.front().dump();
  return ordered_json({{"type", "Sequence"}, {"pretokenizers", steps}}).dump();
}

}  // namespace phalanx::data
