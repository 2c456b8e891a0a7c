#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "formats/json_fields.h"

namespace phalanx::formats {

/// config.json of a Hugging Face model folder: JsonFields, plus what transformers spells in two ways. model/
/// turns it into a TransformerConfig. Paths and names inside the file are never opened, code beside it is
/// never run.
class HfConfig : public JsonFields {
 public:
  explicit HfConfig(const std::filesystem::path& file);
  HfConfig(nlohmann::json object, std::filesystem::path where)
      : JsonFields(std::move(object), std::move(where)) {}

  /// `unread()` without the keys that are known not to change the logits: what a report should name. Nothing
  /// is lost unseen, but nobody is bothered with use_cache.
  std::vector<std::string> unread_that_may_matter() const;
  /// Those of them that are known to change the results where they have this value, each as "key = value".
  std::vector<std::string> unread_that_matter() const;
  /// Sentences for the user, e.g. that auto_map is ignored.
  std::vector<std::string> notices() const;
};

/// Rotary embedding parameters, from `rope_parameters` (v5) or `rope_theta` + `rope_scaling` (v4).
struct RopeParameters {
  std::string rope_type = "default";  ///< default linear dynamic yarn longrope llama3
  std::optional<double> rope_theta;   ///< absent: the family's default
  std::map<std::string, double>
      numbers;  ///< factor, low_freq_factor, ...: keys of the type, as far as present
};

/// @throws FormatError if the two spellings disagree (both are named), if the type is unknown, if a key that
/// the type needs is missing, or if it has a key that we do not know.
RopeParameters read_rope(const HfConfig& config);

/// A model that has sliding layers with a rotary embedding of their own: one object for each kind of layer in
/// `rope_parameters` (v5), or `rope_local_base_freq` for the sliding ones, which are never scaled (v4).
struct LayerRopes {
  RopeParameters full;
  std::optional<double> sliding_theta;
};
/// @throws FormatError as read_rope(), and if sliding layers have a rope_type other than default.
LayerRopes read_layer_ropes(const HfConfig& config);

/// `dtype` (v5) or `torch_dtype` (v4): F64, F32, F16 or BF16; nothing if neither is there.
std::optional<core::DType> read_dtype(const HfConfig& config);

/// Sets both spellings, so that transformers v4 and v5 read the same.
void set_dtype(nlohmann::json& config, core::DType dtype);
void set_rope(nlohmann::json& config, const RopeParameters& rope);  ///< rope_theta must be there

void set_layer_ropes(nlohmann::json& config, const LayerRopes& ropes);  ///< both thetas must be there

/// generation_config.json
struct GenerationConfig {
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::vector<int64_t> eos_token_ids;  ///< one id or a list in the file
  std::optional<bool> do_sample;
  std::optional<int64_t> top_k;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
};

GenerationConfig read_generation_config(const std::filesystem::path& file);
void write_generation_config(const std::filesystem::path& file, const GenerationConfig& config);

/// Indent 2, sorted keys, ASCII, a last newline: as transformers writes its JSON files. Whole or not at all.
void write_hf_json(const std::filesystem::path& file, const nlohmann::json& value);

}  // namespace phalanx::formats
