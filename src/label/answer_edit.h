#pragma once
#include <optional>
#include <string>

#include "label/answer_pair.h"

namespace phalanx::label {

/// The part of an answer that a labeller can rewrite: the text, or the content of its last assistant message.
/// Nothing where that is not text.
std::optional<std::string> editable_text(const core::Json& answer);
/// The answer with that part replaced.
core::Json with_text(core::Json answer, const std::string& text);

/// {"prompt", "chosen", "rejected", "tools"?} as training reads it, with who chose, when, and in how long.
/// @param edit  what the labeller made of the chosen answer; it then has "edited" and "original".
/// @throws core::Error (65) for an edit that is empty, equals the other answer, or of an answer without text.
core::Json preference_row(const AnswerPair& pair, size_t chosen, const std::optional<std::string>& edit,
                          const std::string& labeller, double seconds, const std::string& time);

/// What the page shows of a text or list of messages: [{"role", "text", "calls"?, "reasoning"?}].
core::Json to_view(const core::Json& text_or_messages);

}  // namespace phalanx::label
