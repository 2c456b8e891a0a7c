#include "launch/json_stream.h"

#include <iostream>

#include "core/error.h"
#include "data/data_options.h"
#include "data/json_value.h"

namespace phalanx::launch {
namespace {

using data::jinja::Value;

[[noreturn]] void bad(const std::string& message) {
  throw core::Error(core::ExitCode::kBadInput, message);
}

data::Example from_text(const std::string& text, const data::Tokenizer& tokenizer) {
  data::Example example;
  example.text = text;
  example.ids = tokenizer.encode_with_post_processor(text);
  example.mask.assign(example.ids.size(), 1);
  return example;
}

data::Example from_ids(const Value& ids, const data::Tokenizer& tokenizer) {
  data::Example example;
  if (!ids.is_list()) bad("\"ids\" must be a list of token ids");
  for (const Value& id : ids.items()) {
    if (!id.is_int() || id.integer() < 0 || id.integer() >= tokenizer.vocab_size()) {
      bad(fmt::format("\"ids\" has {} but ids are 0 to {}", core::printable(data::jinja::str(id), 40),
                      tokenizer.vocab_size() - 1));
    }
    example.ids.push_back(static_cast<int32_t>(id.integer()));
  }
  example.text = tokenizer.decode(example.ids, /*skip_special_tokens=*/false);
  example.mask.assign(example.ids.size(), 1);
  return example;
}

}  // namespace

void for_each_row(const std::function<void(const InputRow&)>& handle) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    InputRow row{number, {}};
    data::JsonProblem problem;
    try {
      if (!data::parse_json(line, &row.value, &problem)) bad("not valid JSON: " + problem.reason);
      if (!row.value.is_dict()) bad("must be an object");
      handle(row);
    } catch (const core::Error& error) {
      core::fail(error.code(), "stdin: line {}: {}", number, error.what());
    }
  }
}

data::Example tokens_of(const InputRow& row, const data::Tokenizer& tokenizer,
                        const data::ExampleBuilder& builder, bool for_prompt) {
  const auto flag = [&](const char* key, bool fallback) {
    const Value* value = row.find(key);
    return value ? data::jinja::truthy(*value) : fallback;
  };
  if (const Value* ids = row.find("ids")) return from_ids(*ids, tokenizer);
  if (const Value* messages = row.find("messages")) {
    const Value* tools = row.find("tools");
    if (!messages->is_list() || messages->items().empty()) bad("\"messages\" must be a list of messages");
    if (flag("add_generation_prompt", for_prompt))
      return builder.build_prompt(*messages, tools ? *tools : Value());
    return builder.build(data::read_record(row.value, "messages"));
  }
  const Value* text = row.find(for_prompt && row.find("prompt") ? "prompt" : "text");
  if (!text || !text->is_text())
    bad(for_prompt ? "must have \"prompt\", \"ids\" or \"messages\""
                   : "must have \"text\", \"ids\" or \"messages\"");
  return from_text(text->text(), tokenizer);
}

data::ExampleBuilder example_builder(const data::Tokenizer& tokenizer, const std::string& chat_template,
                                     const core::Config& config) {
  const auto& options = config.get<data::DataOptions>();
  return data::ExampleBuilder(
      tokenizer,
      data::ExampleOptions{options.loss_on, options.special_tokens_in_content, chat_template, false});
}

data::ExampleBuilder example_builder(const generate::ModelSource& source, const core::Config& config) {
  return example_builder(*source.tokenizer, source.chat_template, config);
}

void print_row(const nlohmann::ordered_json& row) {
  std::cout << row.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

}  // namespace phalanx::launch
