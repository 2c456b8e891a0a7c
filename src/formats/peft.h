#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::formats {

/// adapter_config.json of a LoRA adapter, as far as Phalanx implements it.
struct AdapterConfig {
  std::string base_model_name_or_path;  ///< a note for people: never opened
  std::string task_type = "CAUSAL_LM";  ///< or SEQ_CLS, TOKEN_CLS: PEFT's word for what the model answers
  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0;
  bool use_rslora = false;
  bool use_dora = false;
  bool fan_in_fan_out =
      false;  ///< for PEFT alone: its base holds the adapted matrices transposed, as GPT-2's
  std::vector<std::string> modules_to_save;   ///< ends of the paths of modules that the file has whole
  std::vector<std::string> target_modules;    ///< whole dotted paths, or their last parts
  std::optional<std::string> target_pattern;  ///< instead: one regular expression over the whole path
  /// What PEFT adapts that is no module of transformers 5: "mlp.experts.gate_up_proj". Read, never written.
  std::vector<std::string> target_parameters;
  std::map<std::string, int64_t> rank_pattern;  ///< regular expression over the end of the path -> r
  std::map<std::string, double> alpha_pattern;
};

/// @throws FormatError for a wrong value, and for every key that would change the result and is not
/// implemented, whenever its value is not PEFT's default: use_qalora, bias, lora_bias, layers_to_transform,
/// ...
AdapterConfig read_adapter_config(const std::filesystem::path& file);

/// The subset that PEFT's versions share, indent 2, keys sorted.
void write_adapter_config(const std::filesystem::path& file, const AdapterConfig& config);

/// Whether target_modules (or the pattern) name a module such as "model.layers.0.self_attn.q_proj".
/// @throws core::Error kBadInput for a pattern that is no regular expression or takes too long.
bool targets(const AdapterConfig& config, std::string_view module);
/// Whether a pattern of rank_pattern or alpha_pattern is about this module: it matches the end of the path.
bool pattern_names(const std::string& pattern, std::string_view module);
/// Whether modules_to_save has the module: as PEFT decides it, by the end of its path, even amid a word.
bool is_saved_whole(const AdapterConfig& config, std::string_view module);
int64_t rank_of(const AdapterConfig& config, std::string_view module);
/// s in W + s B A: alpha / r, with rsLoRA alpha / sqrt(r).
double scale_of(const AdapterConfig& config, std::string_view module);

enum class LoraPart { kA, kB, kMagnitude };  ///< A is [r, in], B is [out, r], DoRA's magnitude is [out]

/// ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector": what follows the module's name.
std::string_view suffix_of(LoraPart part);
/// "base_model.model." + module + ".lora_A.weight"
std::string adapter_tensor_name(std::string_view module, LoraPart part);
/// "base_model.model." + the name that a tensor of a module in modules_to_save has in the model's own files.
std::string saved_tensor_name(std::string_view name);

}  // namespace phalanx::formats
