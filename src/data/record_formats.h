#pragma once
#include <string>
#include <utility>

#include "data/record.h"

namespace phalanx::data {

// One file per format; record.cpp lists them in the order in which `auto` asks them.

/// {"messages": [{"role", "content"}], "tools"?}, or "conversations". Assistant messages may carry
/// `tool_calls` and reasoning (`reasoning_content`, `thinking` or `reasoning`).
RecordFormat messages_format();
/// {"conversations": [{"from", "value"}], "system"?, "tools"?}: `from` human, gpt, system, function_call,
/// observation and their other names become the roles of messages. With "chosen" and "rejected" a preference,
/// with "kto_tag" an unpaired preference.
RecordFormat sharegpt_format();
/// {"instruction", "input"?, "output", "system"?, "history"?: [[user, assistant]]} as a conversation for the
/// model's chat template: the input stands on a line of its own behind the instruction. With "chosen" and
/// "rejected" in place of "output" a preference.
RecordFormat alpaca_format();
RecordFormat prompt_completion_format();  ///< {"prompt", "completion"}: both text, or both lists of messages
/// {"prompt"?, "chosen", "rejected", "margin"?}: all text, or all lists of messages (answers also one
/// message). Without a prompt it is what both answers begin with. `margin` is a number for reward models.
RecordFormat preference_format();
RecordFormat unpaired_format();  ///< {"prompt", "completion", "label": bool}: text, or lists of messages
RecordFormat stepwise_format();  ///< {"prompt", "completions": [text], "labels": [bool]}
/// {"input_ids", "labels"?, "attention_mask"?, "completion_mask"?, "assistant_masks"?}, not shifted: a label
/// is the id at its own place, or -100. What the attention mask leaves out at the ends is padding and goes.
RecordFormat tokens_format();
RecordFormat text_format();  ///< {"text"}
/// {"prompt", ...}: text, or a list of messages (with "tools"?), and no answer. What a verifier compares with
/// is "reward_model": {"ground_truth"} (verl), else "ground_truth", "answer" or "solution"; all other fields
/// are kept.
RecordFormat prompt_format();

// What several formats check. All throw core::Error (65) naming the field.
bool has_field(const jinja::Dict& object, const char* name);  ///< is there, and not null
const jinja::Value& required(const jinja::Dict& object, const std::string& name);
const std::string& required_text(const jinja::Dict& object, const std::string& name);
std::string optional_text(const jinja::Dict& object, const std::string& name);  ///< "" if absent or null
const std::vector<jinja::Value>& required_list(const jinja::Dict& object, const std::string& name);
/// true, false, 1, 0, or one of these words as text (CSV has no other).
bool to_bool(const jinja::Value& value, const std::string& name);
/// A list of objects with a role (text) and content (text, parts, or null beside tool calls).
const jinja::Value& required_messages(const jinja::Dict& object, const std::string& name);
void check_messages(const jinja::Value& messages, const std::string& name);
/// The list `tools`, which may be absent or null; a JSON text of such a list is read too.
jinja::Value optional_tools(const jinja::Dict& object);
jinja::Value make_message(const std::string& role, const std::string& content);

/// A conversation whose first `num_prompt` messages are the prompt.
Record chat_record(std::vector<jinja::Value> messages, size_t num_prompt, const jinja::Value& tools);
/// "prompt" and "completion" of the record, whichever of the two kinds they are.
Record read_pair(const jinja::Dict& object);
/// Both answers to one prompt. @throws core::Error (65) if an answer is empty, does not begin with the
/// assistant, or equals the other.
Record preference_record(Record chosen, Record rejected);

}  // namespace phalanx::data
