#include "launch/eval.h"

#include <iostream>

#include "launch/command.h"
#include "launch/json_stream.h"
#include "launch/ranks.h"
#include "launch/spread_model.h"
#include "trainer/data_setup.h"
#include "trainer/evaluate.h"
#include "trainer/options.h"

namespace phalanx::launch {
namespace {

int evaluate(const std::string& path, const std::string& config_path, const std::vector<std::string>& sets) {
  return evaluate_model(path, core::Config::load(config_path, sets), [](const nlohmann::ordered_json& row) {
    print_row(row);
    std::cout << std::flush;
  });
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

int evaluate_model(const std::string& path, const core::Config& config,
                   const std::function<void(const nlohmann::ordered_json& row)>& report) {
  const auto& data = config.get<data::DataOptions>();
  if (data.eval.empty())
    core::fail(core::ExitCode::kBadConfig, "data.eval is empty; name at least one file to evaluate on");
  return on_ranks(config, [&](comm::Communicator& group) {
    // model.path of the config is the base under an adapter; PATH is what is evaluated.
    SpreadModel spread(path, config, group);
    const data::Dataset dataset = trainer::prepare_on_ranks(config, data.eval, spread.source().chat_template,
                                                            spread.tokenizer(), group);
    const trainer::EvalResult result =
        trainer::evaluate(spread.model(), dataset, config.get<trainer::EvalOptions>().max_sequences);
    if (group.rank() != 0) return 0;
    report({{"eval_loss", result.loss},
            {"eval_perplexity", result.perplexity()},
            {"eval_target_tokens", result.target_tokens},
            {"eval_sequences", result.num_sequences}});
    return 0;
  });
}

}  // namespace phalanx::launch
