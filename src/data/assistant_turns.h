#pragma once
#include <functional>
#include <string>
#include <vector>

#include "data/chat_template.h"

namespace phalanx::data {

/// Renders a conversation, with or without the generation prompt.
using RenderPart = std::function<std::string(const jinja::Value& messages, bool add_generation_prompt)>;

/// Indices of the messages whose role is "assistant".
std::vector<size_t> assistant_messages(const jinja::Value& messages);

/// Where the answer `messages[index]` stands in `text`, the rendered conversation: it begins where the
/// generation prompt of the messages before it ends (or where the conversation leaves that prompt, behind the
/// turn's header), and ends behind its stop text. First by rendering the
/// messages up to it, whose text must begin the whole; where a template prints earlier turns differently once
/// later ones follow, by rendering the conversation with other words in its place. @throws core::Error (65)
/// if neither agrees with `text`, or there is no stop text.
ByteRange find_turn(const std::string& text, const jinja::Value& messages, size_t index,
                    const RenderOptions& options, const RenderPart& render);

/// Marked turns must be one for each assistant message, not empty, and end with a stop text (white space may
/// follow).
/// @throws core::Error (65).
void check_marked_turns(const RenderedChat& chat, const std::vector<std::string>& stop_texts);

}  // namespace phalanx::data
