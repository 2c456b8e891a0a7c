#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/literal_text.h"
#include "data/record.h"
#include "data/tokenizer.h"

namespace phalanx::data {

struct ExampleOptions {
  std::string loss_on = "assistant";                // assistant | completion | last_turn | all
  std::string special_tokens_in_content = "parse";  // parse | literal
  std::string chat_template;                        // Jinja source; needed for messages
  bool require_target = true;                       // a record without a trainable token is an error
  std::string step_separator = "\n";                // behind each step (judged_example.h)
};

/// A record as tokens.
struct Example {
  std::string text;  ///< what was tokenised
  std::vector<int32_t> ids;
  std::vector<uint8_t> mask;  ///< 1 where the token is a target; of steps see SampleKind::kStepwise
  bool special_text_in_content = false;
  int64_t num_straddling = 0;  ///< targets that begin before their turn: part of the prompt is in them
};

/// Turns records into tokens and masks. Immutable; safe to share between threads. The tokenizer must outlive
/// it.
///
///  - chat: the rendered template. Targets by loss_on: assistant = every answer (of a prompt_completion
///  record: of its
///    completion), completion = the answers behind the prompt, of a plain conversation the last one,
///    last_turn = the last answer, all = every token. See ChatTemplate for what an answer spans.
///  - pair of texts: the completion and EOS (all: the prompt too).
///  - text: every token, and EOS.
///  - tokens: as the record masks them (all: every token). Nothing is added.
/// Answers of a conversation whose `weight` is 0 or `train` is false are left out.
/// BOS comes in front of text and pairs where the tokenizer's post-processor adds it; chat templates print
/// their own.
class ExampleBuilder {
 public:
  /// @throws core::Error (65) for a chat template that does not parse or marks the wrong turns.
  ExampleBuilder(const Tokenizer& tokenizer, ExampleOptions options);

  /// @throws core::Error (65): what is wrong with this record, without its place; (78) if it needs a chat
  /// template and there is none, or if it judges answers (judged_example.h).
  Example build(const Record& record) const;

  /// Tokens of a conversation that an answer is to follow (generation prompt added unless told otherwise).
  Example build_prompt(const jinja::Value& messages, const jinja::Value& tools,
                       bool add_generation_prompt = true) const;
  /// Tokens of a record of kind kPrompt: its conversation as above, or its text, with BOS where the
  /// post-processor adds it.
  Example build_prompt(const Record& record) const;

 private:
  Example build_chat(const Record& record) const;
  Example build_tokens(const Record& record) const;
  Example build_text(const std::string& prompt, const std::string& completion) const;
  Tokenizer::Encoding encode_text(Example& example) const;
  bool adds_bos() const;
  std::vector<ByteRange> wanted_turns(const RenderedChat& chat, const Record& record) const;
  bool keep_literal(const jinja::Value& messages, const jinja::Value& tools, bool* has_special) const;
  const ChatTemplate& chat_template() const;

  const Tokenizer& tokenizer_;
  ExampleOptions options_;
  RenderOptions render_options_;
  std::unique_ptr<const ChatTemplate> template_;
  LiteralText literal_;
};

}  // namespace phalanx::data
