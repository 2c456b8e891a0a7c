#include <iostream>

#include "launch/command.h"
#include "launch/json_stream.h"
#include "model/model_options.h"

namespace phalanx::launch {
namespace {

int tokenize(const std::string& path, const std::vector<std::string>& sets) {
  const core::Config config = core::Config::defaults(sets);
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::string chat_template;
  if (generate::is_tokenizer_alone(path)) {
    tokenizer = generate::open_tokenizer(path);
    chat_template = generate::chosen_template(*tokenizer, config.get<model::ModelOptions>().chat_template);
  } else {
    const generate::ModelSource source = open_model(path, config);
    tokenizer = source.tokenizer;
    chat_template = source.chat_template;
  }
  const data::ExampleBuilder builder = example_builder(*tokenizer, chat_template, config);
  for_each_row([&](const InputRow& row) {
    const data::Example example = tokens_of(row, *tokenizer, builder, /*for_prompt=*/false);
    print_row({{"text", example.text}, {"ids", example.ids}, {"mask", example.mask}});
  });
  std::cout << std::flush;
  return 0;
}

const bool tokenize_registered = register_command(
    {"tokenize", "Text or messages (JSONL on stdin) to token ids and the mask of targets", [](CLI::App& app) {
       auto path = std::make_shared<std::string>();
       auto sets = std::make_shared<std::vector<std::string>>();
       app.add_option("model", *path,
                      "Hugging Face folder, .gguf file, adapter, checkpoint, run or tokenizer file")
           ->required();
       add_set_option(app, *sets);
       return [path, sets] { return tokenize(*path, *sets); };
     }});

}  // namespace
}  // namespace phalanx::launch
