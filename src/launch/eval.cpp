#include <iostream>

#include "core/run_options.h"
#include "data/prepare.h"
#include "launch/command.h"
#include "launch/json_stream.h"
#include "trainer/evaluate.h"
#include "trainer/options.h"

namespace phalanx::launch {
namespace {

int evaluate(const std::string& path, const std::string& config_path, const std::vector<std::string>& sets) {
  const core::Config config = core::Config::load(config_path, sets);
  const auto& data = config.get<data::DataOptions>();
  if (data.eval.empty())
    core::fail(core::ExitCode::kBadConfig, "data.eval is empty; name at least one file to evaluate on");
  set_threads(config);
  // model.path of the config is the base under an adapter; PATH is what is evaluated.
  const LoadedModel loaded = load_model(path, config);
  const std::string folder = config.get<core::RunOptions>().output_dir;
  const data::Dataset dataset =
      data::prepare({data.eval, data, loaded.source.chat_template, data.cache_dir.value_or(folder + "/cache"),
                     folder + "/quarantine.jsonl"},
                    loaded.tokenizer());
  const trainer::EvalResult result =
      trainer::evaluate(*loaded.model, dataset, config.get<trainer::EvalOptions>().max_sequences);
  print_row({{"eval_loss", result.loss},
             {"eval_perplexity", result.perplexity()},
             {"eval_target_tokens", result.target_tokens},
             {"eval_sequences", result.num_sequences}});
  std::cout << std::flush;
  return 0;
}

const bool eval_registered = register_command(
    {"eval", "Loss and perplexity of MODEL on data.eval of CONFIG", [](CLI::App& app) {
       auto path = std::make_shared<std::string>(), config = std::make_shared<std::string>();
       auto sets = std::make_shared<std::vector<std::string>>();
       app.add_option("model", *path, "Hugging Face folder, .gguf file, adapter, checkpoint or run")
           ->required();
       app.add_option("config", *config, "YAML file")->required();
       add_set_option(app, *sets);
       return [=] { return evaluate(*path, *config, *sets); };
     }});

}  // namespace
}  // namespace phalanx::launch
