#include "lora/lora_options.h"

#include "core/config.h"

namespace phalanx::lora {
namespace {

void declare(core::SectionBuilder<LoraOptions>& s) {
  using O = LoraOptions;
  s.only_when_present();
  s.field("r", &O::r, {.help = "Rank of the update.", .min = 1, .max = 4096});
  s.field("alpha", &O::alpha, {.help = "The update is scaled by alpha / r.", .min = 0, .above_min = true});
  s.field("dropout", &O::dropout,
          {.help = "Dropout before the adapter; only 0 is implemented.", .min = 0, .max = 1});
  s.field("target_modules", &O::target_modules,
          {.help = "Which matrices get an adapter: all-linear (all but the output matrix), or last parts of "
                   "their names in transformers, such as q_proj, qkv_proj (Phi-3), c_attn (GPT-2).",
           .one_or_many = true});
  s.field("use_rslora", &O::use_rslora, {.help = "Scale by alpha / sqrt(r) instead (rank-stabilised)."});
  s.field("use_dora", &O::use_dora,
          {.help = "DoRA: each row of an adapted matrix gets a length of its own that is trained."});
  s.field("modules_to_save", &O::modules_to_save,
          {.help = "Modules that are trained and saved whole besides, by the end of their path: lm_head, "
                   "embed_tokens.",
           .one_or_many = true});
  s.field("rank_pattern", &O::rank_pattern,
          {.help = "Another r for some modules: regular expression for the end of the path -> r.",
           .min = 1,
           .max = 4096});
  s.field("alpha_pattern", &O::alpha_pattern,
          {.help = "Another alpha for some modules: regular expression for the end of the path -> alpha.",
           .min = 0,
           .above_min = true});
  s.field("path", &O::path,
          {.help = "Start from this PEFT adapter folder; its own r, alpha and targets hold.",
           .path = core::PathOf::kAdapter});
}

[[maybe_unused]] const bool registered = core::register_section<LoraOptions>(
    "lora", "Low-rank adapters (LoRA). Leave the section out to train all weights.",
    [](auto& s) { declare(s); });

[[maybe_unused]] const bool constrained =
    core::add_constraint("lora.dropout", [](const core::Config& config, std::vector<core::Violation>& out) {
      if (!config.has("lora")) return;
      const LoraOptions& options = config.get<LoraOptions>();
      if (options.dropout != 0) {
        out.push_back(
            {"lora.dropout",
             fmt::format("lora.dropout is {} but only 0 is implemented; set it to 0 or leave it out",
                         options.dropout)});
      }
      const LoraOptions defaults;  // a printed config writes these out, too
      const std::pair<const char*, bool> changed[] = {
          {"lora.r", options.r != defaults.r},
          {"lora.alpha", options.alpha != defaults.alpha},
          {"lora.target_modules", options.target_modules != defaults.target_modules},
          {"lora.use_rslora", options.use_rslora != defaults.use_rslora},
          {"lora.use_dora", options.use_dora != defaults.use_dora},
          {"lora.modules_to_save", options.modules_to_save != defaults.modules_to_save},
          {"lora.rank_pattern", options.rank_pattern != defaults.rank_pattern},
          {"lora.alpha_pattern", options.alpha_pattern != defaults.alpha_pattern}};
      for (const auto& [key, is_changed] : changed) {
        if (options.path && is_changed) {
          out.push_back(
              {key, fmt::format("{} is set, but the adapter in lora.path brings its own; remove one of them",
                                key)});
        }
      }
    });

}  // namespace
}  // namespace phalanx::lora
