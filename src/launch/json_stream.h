#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/example.h"
#include "launch/loaded_model.h"

/// JSONL on stdin, JSONL on stdout: what tokenize, score and generate share.
namespace phalanx::launch {

/// One line of stdin that a command was given.
struct InputRow {
  int64_t line = 0;
  data::jinja::Value value;  ///< an object
  const data::jinja::Value* find(const char* key) const { return value.dict().find(key); }
};

/// Calls `handle` for every line. @throws core::Error (65) naming "stdin: line N".
void for_each_row(const std::function<void(const InputRow&)>& handle);

/// {"text"}, {"ids"} or {"messages"} (+ "tools", "add_generation_prompt") as tokens with a mask.
/// `for_prompt`: {"prompt"} is taken too, and messages get the generation prompt.
data::Example tokens_of(const InputRow& row, const data::Tokenizer& tokenizer,
                        const data::ExampleBuilder& builder, bool for_prompt);

/// How this model's records become tokens.
data::ExampleBuilder example_builder(const data::Tokenizer& tokenizer, const std::string& chat_template,
                                     const core::Config& config);
data::ExampleBuilder example_builder(const generate::ModelSource& source, const core::Config& config);

void print_row(const nlohmann::ordered_json& row);

}  // namespace phalanx::launch
