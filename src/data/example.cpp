#include "data/example.h"

#include <algorithm>

#include "core/error.h"

namespace phalanx::data {
namespace {

using jinja::Value;

[[noreturn]] void bad(const std::string& message) { throw core::Error(core::ExitCode::kBadInput, message); }

Value member(const Value& object, const char* name) {
  const Value* value = object.dict().find(name);
  return value ? *value : Value();
}

/// The texts of a conversation in order: contents that are text, or the text parts of a list.
std::vector<std::string> contents(const Value& messages) {
  std::vector<std::string> texts;
  for (const Value& message : messages.items()) {
    const Value content = member(message, "content");
    if (content.is_text()) texts.push_back(content.text());
    if (!content.is_list()) continue;
    for (const Value& part : content.items()) {
      if (part.is_dict() && member(part, "text").is_text()) texts.push_back(member(part, "text").text());
    }
  }
  return texts;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

void append(Tokenizer::Encoding& to, const Tokenizer::Encoding& part, size_t first_byte) {
  to.ids.insert(to.ids.end(), part.ids.begin(), part.ids.end());
  for (const auto& [begin, end] : part.byte_ranges) {
    to.byte_ranges.emplace_back(begin + static_cast<uint32_t>(first_byte), end + static_cast<uint32_t>(first_byte));
  }
}

void check_target(const Example& example, bool required) {
  if (!required || std::find(example.mask.begin() + 1, example.mask.end(), 1) != example.mask.end()) return;
  bad("the record has no token to learn from: its answer is empty, or data.loss_on covers nothing of it");
}

}  // namespace

ExampleBuilder::ExampleBuilder(const Tokenizer& tokenizer, ExampleOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  if (!options_.chat_template.empty()) template_ = std::make_unique<const ChatTemplate>(options_.chat_template);
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_special(id)) special_texts_.emplace_back(tokenizer.token_bytes(id));
  }
}

Example ExampleBuilder::build(const Record& record) const {
  const Value& value = record.value;
  if (record.format == "text") return build_text("", member(value, "text").text(), true);
  if (record.format == "messages") {
    const Value messages = member(value, member(value, "messages").is_undefined() ? "conversations" : "messages");
    return build_chat(messages, member(value, "tools"), 0);
  }
  const Value prompt = member(value, "prompt"), completion = member(value, "completion");
  if (prompt.is_text()) return build_text(prompt.text(), completion.text(), true);
  std::vector<Value> messages = prompt.items();
  messages.insert(messages.end(), completion.items().begin(), completion.items().end());
  return build_chat(Value(std::move(messages)), member(value, "tools"), prompt.items().size());
}

Example ExampleBuilder::build_prompt(const Value& messages, const Value& tools, bool add_generation_prompt) const {
  RenderOptions options = render_options();
  options.add_generation_prompt = add_generation_prompt;
  Example example;
  example.text = chat_template().render(messages, tools, options);
  example.ids = encode(example.text, messages, example.special_text_in_content).ids;
  example.mask.assign(example.ids.size(), 0);
  return example;
}

Example ExampleBuilder::build_chat(const Value& messages, const Value& tools, size_t num_prompt_messages) const {
  const bool all = options_.loss_on == "all";
  Example example;
  RenderedChat chat;
  if (all) chat.text = chat_template().render(messages, tools, render_options());
  else chat = chat_template().render_with_turns(messages, tools, render_options());
  const Tokenizer::Encoding encoding = encode(chat.text, messages, example.special_text_in_content);
  example.text = std::move(chat.text);
  example.ids = encoding.ids;
  example.mask.assign(example.ids.size(), all ? 1 : 0);
  const auto& stop_ids = tokenizer_.stop_ids();
  for (size_t turn = 0; turn < chat.turns.size(); ++turn) {
    const bool wanted = options_.loss_on == "assistant" || turn + 1 == chat.turns.size();
    if (!wanted || chat.turn_messages[turn] < num_prompt_messages) continue;
    const auto [begin, end] = chat.turns[turn];
    size_t last = 0, first = example.ids.size();  // of the turn's tokens; last counts to the stop token
    for (size_t t = 0; t < example.ids.size(); ++t) {
      const auto [token_begin, token_end] = encoding.byte_ranges[t];
      if (token_end <= begin || token_begin >= end) continue;
      first = std::min(first, t);
      if (std::find(stop_ids.begin(), stop_ids.end(), example.ids[t]) != stop_ids.end()) last = t + 1;
    }
    if (first >= last) bad("the chat template ends an answer without a stop token, so the model would never learn to stop");
    std::fill(example.mask.begin() + static_cast<std::ptrdiff_t>(first), example.mask.begin() + static_cast<std::ptrdiff_t>(last), 1);
  }
  if (example.ids.empty()) bad("the conversation renders to no token");
  check_target(example, options_.require_target);
  return example;
}

Example ExampleBuilder::build_text(const std::string& prompt, const std::string& completion, bool add_eos) const {
  Example example;
  example.text = prompt + completion;
  example.special_text_in_content = has_special_text(example.text);
  const bool literal = options_.special_tokens_in_content == "literal";
  const Tokenizer::Encoding encoding =
      tokenizer_.encode_with_ranges(example.text, literal ? SpecialText::kLiteral : SpecialText::kParse);
  if (encoding.ids.empty()) bad("the text is empty");
  const bool all = prompt.empty() || options_.loss_on == "all";
  example.ids = encoding.ids;
  for (const auto& [begin, end] : encoding.byte_ranges) example.mask.push_back(all || end > prompt.size());
  // What the post-processor puts around the text (BOS, EOS); EOS is ours to add where it does not.
  const std::vector<TokenId> processed = tokenizer_.encode_with_post_processor("");
  const auto& special = tokenizer_.special_tokens();
  const bool has_bos = special.bos && !processed.empty() && processed.front() == *special.bos;
  if (has_bos) {
    example.ids.insert(example.ids.begin(), *special.bos);
    example.mask.insert(example.mask.begin(), all ? 1 : 0);
  }
  if (add_eos && special.eos) {
    example.ids.push_back(*special.eos);
    example.mask.push_back(1);
  }
  check_target(example, options_.require_target);
  return example;
}

/// In literal mode the contents are cut out of the rendered text and encoded as plain characters.
Tokenizer::Encoding ExampleBuilder::encode(const std::string& text, const Value& messages, bool& special_text) const {
  const std::vector<std::string> texts = contents(messages);
  special_text = std::any_of(texts.begin(), texts.end(), [&](const std::string& t) { return has_special_text(t); });
  if (!special_text || options_.special_tokens_in_content != "literal") return tokenizer_.encode_with_ranges(text);
  Tokenizer::Encoding encoding;
  size_t done = 0;
  for (const std::string& content : texts) {
    const std::string plain = trimmed(content);
    const size_t found = plain.empty() ? std::string::npos : text.find(plain, done);
    if (found == std::string::npos) continue;
    append(encoding, tokenizer_.encode_with_ranges(std::string_view(text).substr(done, found - done)), done);
    append(encoding, tokenizer_.encode_with_ranges(plain, SpecialText::kLiteral), found);
    done = found + plain.size();
  }
  append(encoding, tokenizer_.encode_with_ranges(std::string_view(text).substr(done)), done);
  return encoding;
}

bool ExampleBuilder::has_special_text(const std::string& text) const {
  return std::any_of(special_texts_.begin(), special_texts_.end(),
                     [&](const std::string& special) { return text.find(special) != std::string::npos; });
}

const ChatTemplate& ExampleBuilder::chat_template() const {
  if (!template_) bad("the model has no chat template, which messages need; set model.chat_template or use prompt/completion records");
  return *template_;
}

RenderOptions ExampleBuilder::render_options() const {
  const auto text = [&](const std::optional<TokenId>& id) { return id ? std::string(tokenizer_.token_bytes(*id)) : std::string(); };
  return {text(tokenizer_.special_tokens().bos), text(tokenizer_.special_tokens().eos), false};
}

}  // namespace phalanx::data
