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
};

/// A rendered conversation.
struct RenderedChat {
  std::string text;
  /// Byte range of each assistant turn, in order: from its first character to the end of the turn as the template prints it
  /// (the end token and what follows it up to the next turn included).
  std::vector<std::pair<size_t, size_t>> turns;
  std::vector<size_t> turn_messages;  ///< index of the message of each turn
};

/// A compiled Jinja chat template. Immutable; safe to share between threads.
class ChatTemplate {
 public:
  /// @throws core::Error (65) for a template that does not parse.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();

  /// The text alone. `messages` is a list of {"role", "content", ...}; `tools` a list or undefined.
  std::string render(const jinja::Value& messages, const jinja::Value& tools, const RenderOptions& options) const;

  /// With the assistant's turns: from {% generation %} marks where the template has them, else found by rendering every
  /// prefix of the conversation; the prefixes must agree with the whole text. @throws core::Error (65) if they do not.
  RenderedChat render_with_turns(const jinja::Value& messages, const jinja::Value& tools, const RenderOptions& options) const;

 private:
  std::unique_ptr<const jinja::Program> program_;
  bool has_generation_marks_ = false;
};

}  // namespace phalanx::data
