#include <algorithm>

#include "core/error.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

using jinja::Dict;
using jinja::Value;
using Messages = std::vector<Value>;

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadInput, format, std::forward<Args>(args)...);
}

Record text_answer(const std::string& prompt, const std::string& answer) {
  Record record;
  record.kind = Record::Kind::kPair;
  record.prompt = prompt;
  record.text = answer;
  return record;
}

/// How much of both texts is the prompt: what they share, without half a character and without a blank at its
/// end, which belongs to the answers ("The sky is" + " blue.").
size_t shared_text(const std::string& chosen, const std::string& rejected) {
  const size_t shorter = std::min(chosen.size(), rejected.size());
  size_t count = static_cast<size_t>(
      std::mismatch(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(shorter), rejected.begin())
          .first -
      chosen.begin());
  const auto inside_character = [&](const std::string& text) {
    return count < text.size() && (static_cast<unsigned char>(text[count]) & 0xC0) == 0x80;
  };
  while (count > 0 && (inside_character(chosen) || inside_character(rejected))) --count;
  return count > 0 && chosen[count - 1] == ' ' ? count - 1 : count;
}

Record read_texts(const Dict& object) {
  const std::string& chosen = required_text(object, "chosen");
  const std::string& rejected = required_text(object, "rejected");
  if (has_field(object, "prompt")) {
    const std::string& prompt = required_text(object, "prompt");
    return preference_record(text_answer(prompt, chosen), text_answer(prompt, rejected));
  }
  const size_t shared = shared_text(chosen, rejected);
  if (shared == 0)
    refuse("there is no \"prompt\", and \"chosen\" and \"rejected\" do not begin with the same words");
  const std::string prompt = chosen.substr(0, shared);
  return preference_record(text_answer(prompt, chosen.substr(shared)),
                           text_answer(prompt, rejected.substr(shared)));
}

/// A list of messages, or one message.
Messages read_answer(const Dict& object, const char* name) {
  const Value& value = required(object, name);
  if (!value.is_dict()) return required_messages(object, name).items();
  const Messages one = {value};
  check_messages(Value(one), name);
  return one;
}

size_t shared_messages(const Messages& chosen, const Messages& rejected) {
  size_t count = 0;
  while (count < std::min(chosen.size(), rejected.size()) && equal(chosen[count], rejected[count])) ++count;
  return count;
}

bool begins_with_assistant(const Messages& messages) {
  return required_text(messages[0].dict(), "role") == "assistant";
}

/// The messages of the prompt, which are taken off the answers where they begin with them. A prompt of text
/// beside answers of messages is what the user says last.
Messages take_prompt(const Dict& object, Messages& chosen, Messages& rejected) {
  const bool is_explicit = has_field(object, "prompt") && !required(object, "prompt").is_text();
  if (is_explicit) return required_messages(object, "prompt").items();
  const bool is_text = has_field(object, "prompt");
  if (is_text && begins_with_assistant(chosen) && begins_with_assistant(rejected))
    return {make_message("user", required_text(object, "prompt"))};
  const size_t shared = shared_messages(chosen, rejected);
  if (shared == 0)
    refuse(
        "there is no list of messages \"prompt\", and \"chosen\" and \"rejected\" do not begin with the same "
        "messages");
  Messages prompt(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(shared));
  if (is_text) {
    const Value* last = prompt.back().dict().find("content");
    if (last == nullptr || !equal(*last, required(object, "prompt")))
      refuse(
          "\"prompt\" is not the last message that \"chosen\" and \"rejected\" share; leave it out, or make "
          "it a list of messages");
  }
  chosen.erase(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(shared));
  rejected.erase(rejected.begin(), rejected.begin() + static_cast<std::ptrdiff_t>(shared));
  return prompt;
}

Record read_conversations(const Dict& object) {
  Messages chosen = read_answer(object, "chosen"), rejected = read_answer(object, "rejected");
  const Messages prompt = take_prompt(object, chosen, rejected);
  const Value tools = optional_tools(object);
  const auto answered = [&](const Messages& answer) {
    Messages all = prompt;
    all.insert(all.end(), answer.begin(), answer.end());
    return chat_record(std::move(all), prompt.size(), tools);
  };
  return preference_record(answered(chosen), answered(rejected));
}

double read_margin(const Dict& object) {
  if (!has_field(object, "margin")) return 0;
  const Value& margin = required(object, "margin");
  if (margin.is_bool() || !margin.is_number())
    refuse("\"margin\" is {} but must be a number", jinja::type_name(margin));
  return margin.is_int() ? static_cast<double>(margin.integer()) : *margin.get_if<double>();
}

void check_answer(const Record& answer, const char* name) {
  if (answer.kind == Record::Kind::kPair) {
    if (answer.text.empty()) refuse("\"{}\" is empty", name);
    return;
  }
  const Messages& messages = answer.messages.items();
  if (messages.size() == answer.num_prompt_messages) refuse("\"{}\" is empty", name);
  const Value* role = messages[answer.num_prompt_messages].dict().find("role");
  if (role->text() != "assistant") {
    refuse(
        "\"{}\" begins with a message of role {} behind the prompt, but must begin with the assistant's "
        "answer",
        name, core::printable(role->text(), 40));
  }
}

}  // namespace

Record preference_record(Record chosen, Record rejected) {
  check_answer(chosen, "chosen");
  check_answer(rejected, "rejected");
  if (chosen.text == rejected.text && equal(chosen.messages, rejected.messages))
    refuse("\"chosen\" and \"rejected\" are the same, so that nothing is preferred");
  Record record;
  record.kind = Record::Kind::kPreference;
  record.answers = {std::move(chosen), std::move(rejected)};
  return record;
}

RecordFormat preference_format() {
  RecordFormat format;
  format.name = "preference";
  format.keys = "chosen, rejected and perhaps prompt";
  format.matches = [](const Dict& object) {
    return object.find("chosen") != nullptr && object.find("rejected") != nullptr &&
           object.find("instruction") == nullptr;
  };
  format.read = [](const Dict& object) {
    const bool is_text = required(object, "chosen").is_text();
    if (is_text != required(object, "rejected").is_text())
      refuse("\"chosen\" and \"rejected\" must both be text or both be messages");
    Record record = is_text ? read_texts(object) : read_conversations(object);
    record.margin = read_margin(object);
    return record;
  };
  return format;
}

}  // namespace phalanx::data
