#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja_value.h"

namespace phalanx::data {

namespace jinja {
struct Program;
}

struct RenderOptions {
  std::string bos_token, eos_token;
  bool add_generation_prompt = false;
  std::string pad_token = {}, unk_token = {};
  std::vector<std::string> stop_texts =
      {};  ///< what ends an answer (<|im_end|>, ...): needed by render_with_turns
};

using ByteRange = std::pair<size_t, size_t>;  ///< half-open

/// A rendered conversation.
struct RenderedChat {
  std::string text;
  /// What the model has to say in each assistant turn, in order and disjoint: as {% generation %} marks it,
  /// else the answer with its stop text and without the white space behind it.
  std::vector<ByteRange> turns;
  std::vector<size_t> turn_messages;  ///< index of the message of each turn
};

/// A compiled Jinja chat template. Immutable; safe to share between threads. Templates see messages, tools,
/// documents (none), add_generation_prompt and the special tokens; strftime_now prints a fixed day, so that
/// two runs are equal. A message's `thinking` or `reasoning` is also its `reasoning_content`, as transformers
/// does it.
class ChatTemplate {
 public:
  /// @throws core::Error (65) for a template that does not parse.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();

  /// The text alone. `messages` is a list of {"role", "content", ...}; `tools` a list or undefined.
  std::string render(const jinja::Value& messages, const jinja::Value& tools,
                     const RenderOptions& options) const;

  /// With the assistant's turns: from {% generation %} marks where the template has them, else found by
  /// rendering every prefix of the conversation (where the template rewrites earlier turns: by rendering it
  /// with another answer).
  /// @throws core::Error (65) if a turn cannot be found, is empty, or has no stop text at its end.
  RenderedChat render_with_turns(const jinja::Value& messages, const jinja::Value& tools,
                                 const RenderOptions& options) const;

  /// Renders a small conversation of known words and checks that generation marks cover the answers and
  /// nothing of what the user says. Nothing to do for a template without marks. @throws core::Error (65).
  void check_marks(const RenderOptions& options) const;

 private:
  std::unique_ptr<const jinja::Program> program_;
};

}  // namespace phalanx::data
