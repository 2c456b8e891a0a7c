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
  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;      ///< whole dotted paths, or their last parts
  std::optional<std::string> target_pattern;    ///< instead: one regular expression over the whole path
  std::map<std::string, int64_t> rank_pattern;  ///< regular expression over the end of the path -> r
  std::map<std::string, double> alpha_pattern;
};

/// @throws FormatError for a wrong value, and for every key that would change the result and is not
/// implemented, whenever its value is not PEFT's default: use_dora, use_qalora, modules_to_save, bias,
/// layers_to_transform, ...
AdapterConfig read_adapter_config(const std::filesystem::path& file);

/// The subset that PEFT's versions share, indent 2, keys sorted.
void write_adapter_config(const std::filesystem::path& file, const AdapterConfig& config);

/// Whether target_modules (or the pattern) name a module such as "model.layers.0.self_attn.q_proj".
/// @throws core::Error kBadInput for a pattern that is no regular expression or takes too long.
bool targets(const AdapterConfig& config, std::string_view module);
int64_t rank_of(const AdapterConfig& config, std::string_view module);
/// s in W + s B A: alpha / r, with rsLoRA alpha / sqrt(r).
double scale_of(const AdapterConfig& config, std::string_view module);

enum class LoraPart { kA, kB };  ///< A is [r, in], B is [out, r]

/// "base_model.model." + module + ".lora_A.weight"
std::string adapter_tensor_name(std::string_view module, LoraPart part);

struct AdapterTensorName {
  std::string module;
  LoraPart part;
};
/// The other way round; nothing for embeddings, DoRA vectors and whatever else is no A or B of a linear
/// module.
std::optional<AdapterTensorName> parse_adapter_tensor_name(std::string_view name);

}  // namespace phalanx::formats
