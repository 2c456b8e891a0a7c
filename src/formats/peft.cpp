#define PCRE2_CODE_UNIT_WIDTH 8
#include "formats/peft.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "formats/format_error.h"
#include "formats/hf_config.h"

namespace phalanx::formats {
namespace {

using nlohmann::json;
using Kind = FormatErrorKind;

constexpr int64_t kMaxRank = 1 << 20;
constexpr std::string_view kPrefix = "base_model.model.";

/// Keys that say nothing about the arithmetic of a finished adapter.
/// fan_in_fan_out follows from the class of the base's layer, whatever a file says.
constexpr std::array kHarmless = {"fan_in_fan_out", "auto_mapping", "inference_mode",   "megatron_core",
                                  "peft_version",   "revision",     "qalora_group_size"};

/// Keys that PEFT has, with the value under which they change nothing. Any other value of theirs, and any key
/// that is nowhere here, is refused: PEFT itself would drop some of them without a word.
const json& inert_values() {
  static const json values = {{"alora_invocation_tokens", nullptr},
                              {"arrow_config", nullptr},
                              {"bias", "none"},
                              {"corda_config", nullptr},
                              {"ensure_weight_tying", false},
                              {"eva_config", nullptr},
                              {"exclude_modules", nullptr},
                              {"kasa_config", nullptr},
                              {"layer_replication", nullptr},
                              {"layers_pattern", nullptr},
                              {"layers_to_transform", nullptr},
                              {"loftq_config", json::object()},
                              {"lora_bias", false},
                              {"lora_ga_config", nullptr},
                              {"megatron_config", nullptr},
                              {"monteclora_config", nullptr},
                              {"runtime_config", nullptr},
                              {"trainable_token_indices", nullptr},
                              {"use_bdlora", nullptr},
                              {"use_qalora", false},
                              {"velora_config", nullptr}};
  return values;
}

void refuse_unimplemented(const JsonFields& fields) {
  for (const char* key : kHarmless) (void)fields.raw(key);
  for (const auto& [key, inert] : inert_values().items()) {
    const json* value = fields.raw(key);
    const bool empty = value != nullptr && (value->is_array() || value->is_object()) && value->empty();
    if (value == nullptr || *value == inert || *value == false || empty) continue;
    fields.fail_value(key,
                      fmt::format("{}; other values are not implemented, merge the adapter with PEFT first",
                                  inert.is_null() ? "null" : inert.dump()));
  }
}

/// How A and B began does not matter any more, except where the base weights were changed along with them.
void check_initialisation(const JsonFields& fields) {
  const json* value = fields.raw("init_lora_weights");
  if (value == nullptr || value->is_boolean()) return;
  if (value->is_string() && (*value == "gaussian" || *value == "eva" || *value == "orthogonal")) return;
  fields.fail_value("init_lora_weights",
                    "true, false, gaussian, eva or orthogonal; the other methods change the base model too");
}

void read_targets(const JsonFields& fields, AdapterConfig& config) {
  const json* value = fields.raw("target_modules");
  if (value == nullptr) fields.fail_value("target_modules", "a list of modules or a regular expression");
  if (value->is_string()) {
    config.target_pattern = value->get<std::string>();
  } else {
    config.target_modules = fields.texts("target_modules");
  }
}

template <typename T, typename Read>
std::map<std::string, T> read_patterns(const JsonFields& fields, const std::string& key, const Read& read) {
  std::map<std::string, T> patterns;
  if (const std::optional<JsonFields> object = fields.find_object(key))
    for (const std::string& pattern : object->keys()) patterns[pattern] = read(*object, pattern);
  return patterns;
}

/// Python's re.fullmatch, within limits that keep a hostile expression from running for ever.
bool matches_fully(const std::string& expression, std::string_view text) {
  int error = 0;
  PCRE2_SIZE place = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                    PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF, &error, &place, nullptr),
      pcre2_code_free);
  if (!code)
    core::fail(core::ExitCode::kBadInput, "adapter_config.json: \"{}\" is no regular expression (at byte {})",
               core::printable(expression), place);
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> limits(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(limits.get(), 100'000);
  const int result = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                                 match.get(), limits.get());
  if (result < 0 && result != PCRE2_ERROR_NOMATCH)
    core::fail(core::ExitCode::kBadInput, "adapter_config.json: the expression \"{}\" takes too long on {}",
               core::printable(expression), core::printable(text));
  return result >= 0;
}

/// The value of the pattern that matches the end of the path. PEFT takes the first in the order of the file,
/// which JSON does not promise to keep: two that match with different values are an error.
template <typename T>
T by_pattern(const std::map<std::string, T>& patterns, std::string_view module, T fallback) {
  std::optional<T> found;
  for (const auto& [pattern, value] : patterns) {
    if (!pattern_names(pattern, module)) continue;
    if (found && *found != value)
      core::fail(core::ExitCode::kBadInput,
                 "adapter_config.json: several patterns match {} with different values, "
                 "among them \"{}\"; keep one",
                 core::printable(module), core::printable(pattern));
    found = value;
  }
  return found.value_or(fallback);
}

json as_json_number(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? json(int64_t(value)) : json(value);
}

}  // namespace

AdapterConfig read_adapter_config(const std::filesystem::path& file) {
  const JsonFields fields(json(core::read_json(file.string())), file);
  if (fields.text("peft_type") != "LORA") fields.fail_value("peft_type", "LORA");
  const std::string task = fields.find_text("task_type").value_or("CAUSAL_LM");
  if (task != "CAUSAL_LM" && task != "SEQ_CLS" && task != "TOKEN_CLS")
    fields.fail_value("task_type", "CAUSAL_LM, SEQ_CLS or TOKEN_CLS");
  refuse_unimplemented(fields);
  check_initialisation(fields);
  AdapterConfig config;
  config.task_type = task;
  config.base_model_name_or_path = fields.find_text("base_model_name_or_path").value_or("");
  config.r = fields.find_integer("r", 1, kMaxRank).value_or(config.r);
  config.lora_alpha = fields.find_number("lora_alpha", 0, 1e9).value_or(config.lora_alpha);
  config.lora_dropout = fields.find_number("lora_dropout", -1e-300, 1).value_or(0);
  config.use_rslora = fields.find_boolean("use_rslora").value_or(false);
  config.use_dora = fields.find_boolean("use_dora").value_or(false);
  config.modules_to_save = fields.texts("modules_to_save");
  config.target_parameters = fields.texts("target_parameters");
  read_targets(fields, config);
  config.rank_pattern = read_patterns<int64_t>(
      fields, "rank_pattern",
      [](const JsonFields& o, const std::string& key) { return o.integer(key, 1, kMaxRank); });
  config.alpha_pattern = read_patterns<double>(
      fields, "alpha_pattern",
      [](const JsonFields& o, const std::string& key) { return o.number(key, 0, 1e9); });
  if (const std::vector<std::string> unknown = fields.unread(); !unknown.empty())
    fail_in(Kind::kUnsupported, file, "has the key {}, which is not known; merge the adapter with PEFT first",
            core::printable(unknown.front()));
  return config;
}

void write_adapter_config(const std::filesystem::path& file, const AdapterConfig& config) {
  json alphas = json::object();
  for (const auto& [pattern, alpha] : config.alpha_pattern) alphas[pattern] = as_json_number(alpha);
  const json value = {
      {"alpha_pattern", alphas},
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", config.base_model_name_or_path},
      {"bias", "none"},
      {"fan_in_fan_out", config.fan_in_fan_out},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"layers_pattern", nullptr},
      {"layers_to_transform", nullptr},
      {"lora_alpha", as_json_number(config.lora_alpha)},
      {"lora_dropout", config.lora_dropout},
      {"modules_to_save", config.modules_to_save.empty() ? json(nullptr) : json(config.modules_to_save)},
      {"peft_type", "LORA"},
      {"r", config.r},
      {"rank_pattern", config.rank_pattern},
      {"revision", nullptr},
      {"target_modules", config.target_pattern ? json(*config.target_pattern) : json(config.target_modules)},
      {"task_type", config.task_type},
      {"use_dora", config.use_dora},
      {"use_rslora", config.use_rslora},
  };
  write_hf_json(file, value);
}

bool targets(const AdapterConfig& config, std::string_view module) {
  if (config.target_pattern) return matches_fully(*config.target_pattern, module);
  return std::ranges::any_of(config.target_modules, [&](const std::string& target) {
    return module == target || module.ends_with("." + target);
  });
}

bool pattern_names(const std::string& pattern, std::string_view module) {
  return matches_fully("(.*\\.)?(" + pattern + ")", module);
}

bool is_saved_whole(const AdapterConfig& config, std::string_view module) {
  return std::ranges::any_of(config.modules_to_save,
                             [&](const std::string& end) { return module.ends_with(end); });
}

int64_t rank_of(const AdapterConfig& config, std::string_view module) {
  return by_pattern(config.rank_pattern, module, config.r);
}

double scale_of(const AdapterConfig& config, std::string_view module) {
  const auto rank = double(rank_of(config, module));
  return by_pattern(config.alpha_pattern, module, config.lora_alpha) /
         (config.use_rslora ? std::sqrt(rank) : rank);
}

std::string_view suffix_of(LoraPart part) {
  switch (part) {
    case LoraPart::kA:
      return ".lora_A.weight";
    case LoraPart::kB:
      return ".lora_B.weight";
    case LoraPart::kMagnitude:
      return ".lora_magnitude_vector";
  }
  return "";
}

std::string adapter_tensor_name(std::string_view module, LoraPart part) {
  return fmt::format("{}{}{}", kPrefix, module, suffix_of(part));
}

std::string saved_tensor_name(std::string_view name) {
  return fmt::format("{}{}", kPrefix, name);
}

}  // namespace phalanx::formats
