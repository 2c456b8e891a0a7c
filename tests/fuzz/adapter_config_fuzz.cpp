#include "formats/peft.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

using formats::AdapterConfig;

void fuzz_adapter_config(std::string_view input) {
  const std::string path = as_file(input, "adapter_config.json");
  accepts([&] {
    const AdapterConfig config = formats::read_adapter_config(path);
    for (const char* module :
         {"model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head"}) {
      accepts([&] { formats::targets(config, module); });
      accepts([&] { formats::rank_of(config, module); });
      accepts([&] { formats::scale_of(config, module); });
    }
    formats::write_adapter_config(path_of("written.json"), config);
    const AdapterConfig again = formats::read_adapter_config(path_of("written.json"));
    promise(again.r == config.r && again.lora_alpha == config.lora_alpha &&
                again.lora_dropout == config.lora_dropout && again.use_rslora == config.use_rslora &&
                again.target_modules == config.target_modules &&
                again.target_pattern == config.target_pattern && again.rank_pattern == config.rank_pattern &&
                again.alpha_pattern == config.alpha_pattern &&
                again.base_model_name_or_path == config.base_model_name_or_path,
            "a written adapter_config.json reads the same");
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(adapter_config, phalanx::fuzz::fuzz_adapter_config)
