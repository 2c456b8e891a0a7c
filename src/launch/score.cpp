#include <cmath>
#include <iostream>

#include "generate/evaluate.h"
#include "launch/command.h"
#include "launch/json_stream.h"

namespace phalanx::launch {
namespace {

constexpr size_t kRowsTogether = 16;

void score_rows(const LoadedModel& loaded, const std::vector<std::vector<int32_t>>& sequences) {
  const auto scores = generate::score(*loaded.model, sequences);
  for (size_t i = 0; i < sequences.size(); ++i) {
    nlohmann::ordered_json logprobs = nlohmann::ordered_json::array();
    for (const double value : scores[i])
      logprobs.push_back(std::isnan(value) ? nlohmann::ordered_json() : nlohmann::ordered_json(value));
    print_row({{"ids", sequences[i]}, {"logprobs", logprobs}});
  }
}

int score(const std::string& path, const std::vector<std::string>& sets) {
  const core::Config config = core::Config::defaults(sets);
  set_threads(config);
  const LoadedModel loaded = load_model(path, config);
  const data::ExampleBuilder builder = example_builder(loaded.source, config);
  std::vector<std::vector<int32_t>> waiting;
  for_each_row([&](const InputRow& row) {
    waiting.push_back(tokens_of(row, loaded.tokenizer(), builder, /*for_prompt=*/false).ids);
    if (waiting.size() < kRowsTogether) return;
    score_rows(loaded, waiting);
    waiting.clear();
  });
  if (!waiting.empty()) score_rows(loaded, waiting);
  std::cout << std::flush;
  return 0;
}

const bool score_registered = register_command(
    {"score", "log p of every token (JSONL on stdin) given those before it, in nats", [](CLI::App& app) {
       auto path = std::make_shared<std::string>();
       auto sets = std::make_shared<std::vector<std::string>>();
       app.add_option("model", *path, "Hugging Face folder, .gguf file, adapter, checkpoint or run")
           ->required();
       add_set_option(app, *sets);
       return [path, sets] { return score(*path, *sets); };
     }});

}  // namespace
}  // namespace phalanx::launch
