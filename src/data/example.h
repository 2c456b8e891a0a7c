#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/record.h"
#include "data/tokenizer.h"

namespace phalanx::data {

struct ExampleOptions {
  std::string loss_on = "assistant";                // assistant | completion | last_turn | all
  std::string special_tokens_in_content = "parse";  // parse | literal
  std::string chat_template;                        // Jinja source; needed for messages
  bool require_target = true;                       // a record without a trainable token is an error
};

/// A record as tokens.
struct Example {
  std::string text;            ///< what was tokenised
  std::vector<int32_t> ids;
  std::vector<uint8_t> mask;   ///< 1 where the token is a target
  bool special_text_in_content = false;
};

/// Turns records into tokens and masks. Immutable; safe to share between threads.
///
///  - messages: the rendered template; targets by loss_on: assistant = every answer with its end token (not the white space after
///    it), completion and last_turn = the last answer only, all = every token.
///  - prompt_completion: text: the completion and EOS (all: the prompt too); message lists: the answers of the completion.
///  - text: every token, and EOS.
/// A token that straddles the beginning of an answer is a target.
class ExampleBuilder {
 public:
  ExampleBuilder(const Tokenizer& tokenizer, ExampleOptions options);

  /// @throws core::Error (65): what is wrong with this record, without its place.
  Example build(const Record& record) const;

  /// Tokens of a conversation that an answer is to follow (generation prompt added unless told otherwise).
  Example build_prompt(const jinja::Value& messages, const jinja::Value& tools, bool add_generation_prompt = true) const;

 private:
  Example build_chat(const jinja::Value& messages, const jinja::Value& tools, size_t num_prompt_messages) const;
  Example build_text(const std::string& prompt, const std::string& completion, bool add_eos) const;
  Tokenizer::Encoding encode(const std::string& text, const jinja::Value& messages, bool& special_text) const;
  bool has_special_text(const std::string& text) const;
  const ChatTemplate& chat_template() const;
  RenderOptions render_options() const;

  const Tokenizer& tokenizer_;
  ExampleOptions options_;
  std::unique_ptr<const ChatTemplate> template_;
  std::vector<std::string> special_texts_;
};

}  // namespace phalanx::data
