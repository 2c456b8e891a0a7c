#include "data/assistant_turns.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "core/error.h"

namespace phalanx::data {
namespace {

using jinja::Value;

constexpr std::string_view kBlank = " \t\r\n";
constexpr const char* kOtherWords = "qzv7 other words in place of the answer k3xw";

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadInput, format, std::forward<Args>(args)...);
}

Value first_messages(const Value& messages, size_t count) {
  return Value(std::vector<Value>(messages.items().begin(),
                                  messages.items().begin() + static_cast<std::ptrdiff_t>(count)));
}

Value with_content(const Value& messages, size_t index, const Value& content) {
  std::vector<Value> changed = messages.items();
  jinja::Dict message;
  for (const auto& [key, value] : changed[index].dict().items()) message.set(key, value);
  message.set("content", content);
  changed[index] = Value(std::move(message));
  return Value(std::move(changed));
}

/// End of the stop text that closes `turn`: the last one, with nothing but blanks behind it. nullopt: there
/// is none.
std::optional<size_t> end_of_stop(std::string_view turn, const std::vector<std::string>& stop_texts) {
  const size_t last = turn.find_last_not_of(kBlank);
  if (last == std::string_view::npos) return std::nullopt;
  const std::string_view printed = turn.substr(0, last + 1);
  for (const std::string& stop : stop_texts) {
    if (!stop.empty() && printed.ends_with(stop)) return printed.size();
  }
  return std::nullopt;
}

[[noreturn]] void fail_stop(size_t index) {
  bad("chat template: it ends message {} without a stop token, so the model would never learn to stop",
      index);
}

/// The turn as the text that is added to the conversation before it, where prefixes agree.
std::optional<ByteRange> turn_by_prefixes(const std::string& text, size_t begin, const std::string& after,
                                          size_t index, const RenderOptions& options) {
  if (after.size() < begin || !text.starts_with(after)) return std::nullopt;
  const auto end = end_of_stop(std::string_view(after).substr(begin), options.stop_texts);
  if (!end) fail_stop(index);
  return ByteRange{begin, begin + *end};
}

/// The turn as what changes, with the stop text behind it, when other words are put in its place.
std::optional<ByteRange> turn_by_other_words(const std::string& text, size_t begin, const Value& messages,
                                             size_t index, const RenderOptions& options,
                                             const RenderPart& render) {
  const Value* content = messages.items()[index].dict().find("content");
  if (content == nullptr || !content->is_text()) return std::nullopt;
  const std::string other =
      render(with_content(messages, index, Value(kOtherWords)), options.add_generation_prompt);
  const std::string_view words = kOtherWords;
  const size_t at = other.find(words);
  if (at == std::string::npos || other.find(words, at + 1) != std::string::npos) return std::nullopt;
  const std::string_view before = std::string_view(other).substr(0, at);
  const std::string_view behind = std::string_view(other).substr(at + words.size());
  const bool agrees = before.size() >= begin && before.size() + behind.size() <= text.size() &&
                      text.starts_with(before) && text.ends_with(behind);
  if (!agrees) return std::nullopt;
  size_t end = std::string_view::npos;
  for (const std::string& stop : options.stop_texts) {
    if (stop.empty()) continue;
    const size_t found = behind.find(stop);
    if (found != std::string_view::npos) end = std::min(end, found + stop.size());
  }
  if (end == std::string_view::npos) fail_stop(index);
  return ByteRange{begin, text.size() - behind.size() + end};
}

size_t shared_bytes(std::string_view left, std::string_view right) {
  const size_t shorter = std::min(left.size(), right.size());
  return static_cast<size_t>(
      std::mismatch(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(shorter), right.begin()).first -
      left.begin());
}

/// Where the answer begins when `text` does not go on as the generation prompt does (one that opens a thought
/// which earlier turns lack): behind what the prompt shares with the conversation whose answer is other
/// words, so that no answer agrees with it by chance. At least the turn's header must be shared.
std::optional<size_t> begin_behind_header(const std::string& text, const std::string& before,
                                          const Value& messages, size_t index, const RenderPart& render) {
  const Value* content = messages.items()[index].dict().find("content");
  if (content == nullptr || !content->is_text()) return std::nullopt;
  const std::string other = render(with_content(messages, index, Value(kOtherWords)), false);
  const size_t begin = std::min(shared_bytes(before, other), shared_bytes(before, text));
  const std::string history = render(first_messages(messages, index), false);
  if (!text.starts_with(history) || begin <= history.size()) return std::nullopt;
  return begin;
}

}  // namespace

std::vector<size_t> assistant_messages(const Value& messages) {
  std::vector<size_t> indices;
  for (size_t i = 0; i < messages.items().size(); ++i) {
    const Value& message = messages.items()[i];
    const Value* role = message.is_dict() ? message.dict().find("role") : nullptr;
    if (role != nullptr && role->is_text() && role->text() == "assistant") indices.push_back(i);
  }
  return indices;
}

ByteRange find_turn(const std::string& text, const Value& messages, size_t index,
                    const RenderOptions& options, const RenderPart& render) {
  const std::string before = render(first_messages(messages, index), true);
  const bool is_last = index + 1 == messages.items().size() && !options.add_generation_prompt;
  const std::optional<size_t> begin =
      text.starts_with(before) ? before.size() : begin_behind_header(text, before, messages, index, render);
  std::optional<ByteRange> turn;
  if (begin) {
    turn = turn_by_prefixes(text, *begin, is_last ? text : render(first_messages(messages, index + 1), false),
                            index, options);
    if (!turn) turn = turn_by_other_words(text, *begin, messages, index, options, render);
  }
  if (!turn) {
    bad("chat template: it prints message {} differently at the end of a conversation than inside it, so the "
        "assistant's tokens "
        "cannot be told apart; use a template with {{% generation %}} marks (model.chat_template), or "
        "data.loss_on: all",
        index);
  }
  return *turn;
}

void check_marked_turns(const RenderedChat& chat, const std::vector<std::string>& stop_texts) {
  if (chat.turns.size() != chat.turn_messages.size()) {
    bad("chat template: it marks {} generations but the conversation has {} assistant turns",
        chat.turns.size(), chat.turn_messages.size());
  }
  for (size_t i = 0; i < chat.turns.size(); ++i) {
    const auto [begin, end] = chat.turns[i];
    if (begin == end)
      bad("chat template: the generation it marks for message {} is empty", chat.turn_messages[i]);
    if (!end_of_stop(std::string_view(chat.text).substr(begin, end - begin), stop_texts))
      fail_stop(chat.turn_messages[i]);
  }
}

}  // namespace phalanx::data
