#pragma once
#include <string>

#include "data/record.h"

namespace phalanx::data {

// One file per format; record.cpp lists them in the order in which `auto` asks them.
RecordFormat messages_format();  ///< {"messages": [{"role", "content"}], "tools"?}, or "conversations"
RecordFormat prompt_completion_format();  ///< {"prompt", "completion"}: both text, or both lists of messages
RecordFormat text_format();               ///< {"text"}

// What several formats check. All throw core::Error (65) naming the field.
const jinja::Value& required(const jinja::Dict& object, const std::string& name);
const std::string& required_text(const jinja::Dict& object, const std::string& name);
/// A list of objects with a role (text) and content (text, parts, or null beside tool calls).
const jinja::Value& required_messages(const jinja::Dict& object, const std::string& name);
/// The list `tools`, which may be absent or null; a JSON text of such a list is read too.
jinja::Value optional_tools(const jinja::Dict& object);

}  // namespace phalanx::data
