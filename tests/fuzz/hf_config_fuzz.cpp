#include "formats/hf_config.h"

#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

using formats::HfConfig;
using formats::RopeParameters;

bool same_rope(const RopeParameters& left, const RopeParameters& right) {
  return left.rope_type == right.rope_type && left.rope_theta == right.rope_theta &&
         left.numbers == right.numbers;
}

void check_rope(const HfConfig& config) {
  const RopeParameters rope = formats::read_rope(config);
  if (!rope.rope_theta) return;
  nlohmann::json written = nlohmann::json::object();
  formats::set_rope(written, rope);
  promise(same_rope(formats::read_rope(HfConfig(written, "written.json")), rope),
          "a written rope reads the same", written.dump());
}

void check_generation(const std::string& path) {
  const formats::GenerationConfig config = formats::read_generation_config(path);
  formats::write_generation_config(path_of("written.json"), config);
  const formats::GenerationConfig again = formats::read_generation_config(path_of("written.json"));
  promise(again.bos_token_id == config.bos_token_id && again.pad_token_id == config.pad_token_id &&
              again.eos_token_ids == config.eos_token_ids && again.do_sample == config.do_sample &&
              again.top_k == config.top_k && again.temperature == config.temperature &&
              again.top_p == config.top_p && again.min_p == config.min_p &&
              again.repetition_penalty == config.repetition_penalty,
          "a written generation_config.json reads the same");
}

void fuzz_hf_config(std::string_view input) {
  const std::string path = as_file(input, "config.json");
  accepts([&] {
    const HfConfig config{std::filesystem::path(path)};
    config.notices();
    accepts([&] { check_rope(config); });
    accepts([&] { formats::read_layer_ropes(config); });
    accepts([&] {
      if (const auto dtype = formats::read_dtype(config)) {
        nlohmann::json written = nlohmann::json::object();
        formats::set_dtype(written, *dtype);
        promise(formats::read_dtype(HfConfig(written, "written.json")) == dtype,
                "a written dtype reads the same");
      }
    });
    for (const char* key : {"hidden_size", "eos_token_id"}) accepts([&] { config.integer(key, 1, 1 << 20); });
    accepts([&] { config.integers("eos_token_id", 0, 1 << 20); });
    accepts([&] { config.number("rms_norm_eps", 0, 1); });
    accepts([&] { config.texts("layer_types"); });
    config.unread_that_may_matter();
    config.unread_that_matter();
  });
  accepts([&] { check_generation(path); });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(hf_config, phalanx::fuzz::fuzz_hf_config)
