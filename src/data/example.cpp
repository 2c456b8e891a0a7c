#include "data/example.h"

#include <algorithm>

#include "core/error.h"

namespace phalanx::data {
namespace {

using jinja::Value;

[[noreturn]] void bad(const std::string& message) {
  throw core::Error(core::ExitCode::kBadInput, message);
}

/// Targets: tokens that touch one of `spans` (in order, disjoint); the first of a span may begin before it.
void mark_targets(Example& example, const Tokenizer::Encoding& encoding,
                  const std::vector<ByteRange>& spans) {
  size_t span = 0;
  for (size_t t = 0; t < encoding.ids.size(); ++t) {
    const auto [begin, end] = encoding.byte_ranges[t];
    while (span < spans.size() && spans[span].second <= begin) ++span;
    if (span == spans.size()) return;
    if (end <= spans[span].first) continue;
    example.mask[t] = 1;
    example.num_straddling += begin < spans[span].first ? 1 : 0;
  }
}

void check_target(const Example& example, bool required) {
  if (example.ids.empty()) bad("the record has no token at all");
  if (!required || std::find(example.mask.begin() + 1, example.mask.end(), 1) != example.mask.end()) return;
  bad("the record has no token to learn from: it has no answer, or data.loss_on covers nothing of it");
}

[[noreturn]] void fail_judged(const Record& record) {
  core::fail(
      core::ExitCode::kBadConfig,
      "a record of format {} {}, which methods sft and pretrain do not learn from; they take "
      "messages, prompt_completion, text, tokens, and sharegpt and alpaca without chosen, rejected and "
      "kto_tag",
      record.format, record.kind == Record::Kind::kPrompt ? "has a prompt and no answer" : "judges answers");
}

/// Every token counts, so that no message can be left out.
void check_all_learned(const Value& messages) {
  for (size_t i = 0; i < messages.items().size(); ++i) {
    if (is_learned(messages.items()[i]) || messages.items()[i].dict().find("role")->text() != "assistant")
      continue;
    bad(fmt::format(
        "message {} is not to be learned (weight 0 or train false), but data.loss_on is all; set it to "
        "assistant",
        i));
  }
}

RenderOptions render_options(const Tokenizer& tokenizer) {
  const auto text = [&](const std::optional<TokenId>& id) {
    return id ? std::string(tokenizer.token_bytes(*id)) : std::string();
  };
  const SpecialTokens& special = tokenizer.special_tokens();
  RenderOptions options{text(special.bos), text(special.eos), false,
                        text(special.pad), text(special.unk), {}};
  for (const TokenId id : tokenizer.stop_ids()) options.stop_texts.emplace_back(tokenizer.token_bytes(id));
  return options;
}

}  // namespace

ExampleBuilder::ExampleBuilder(const Tokenizer& tokenizer, ExampleOptions options)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      render_options_(render_options(tokenizer)),
      literal_(tokenizer) {
  if (options_.chat_template.empty()) return;
  template_ = std::make_unique<const ChatTemplate>(options_.chat_template);
  if (options_.loss_on != "all") template_->check_marks(render_options_);
}

Example ExampleBuilder::build(const Record& record) const {
  switch (record.kind) {
    case Record::Kind::kChat:
      return build_chat(record);
    case Record::Kind::kTokens:
      return build_tokens(record);
    case Record::Kind::kText:
    case Record::Kind::kPair:
      return build_text(record.prompt, record.text);
    default:
      fail_judged(record);
  }
}

Example ExampleBuilder::build_prompt(const Value& messages, const Value& tools,
                                     bool add_generation_prompt) const {
  RenderOptions options = render_options_;
  options.add_generation_prompt = add_generation_prompt;
  Example example;
  std::vector<ByteRange> none;
  if (keep_literal(messages, tools, &example.special_text_in_content)) {
    std::string mark;
    const Value both = literal_.protect(Value(std::vector<Value>{messages, tools}), &mark);
    example.text = chat_template().render(both.items()[0], both.items()[1], options);
    example.ids = literal_.encode(example.text, mark, none).ids;
  } else {
    example.text = chat_template().render(messages, tools, options);
    example.ids = tokenizer_.encode(example.text);
  }
  example.mask.assign(example.ids.size(), 0);
  return example;
}

Example ExampleBuilder::build_chat(const Record& record) const {
  const bool all = options_.loss_on == "all";
  Example example;
  Value messages = record.messages;
  Value tools = record.tools;
  std::string mark;
  if (keep_literal(messages, tools, &example.special_text_in_content)) {
    const Value both = literal_.protect(Value(std::vector<Value>{messages, tools}), &mark);
    messages = both.items()[0];
    tools = both.items()[1];
  }
  RenderedChat chat;
  if (all) {
    check_all_learned(messages);
    chat.text = chat_template().render(messages, tools, render_options_);
  } else {
    chat = chat_template().render_with_turns(messages, tools, render_options_);
  }
  std::vector<ByteRange> spans = wanted_turns(chat, record);
  example.text = std::move(chat.text);
  const Tokenizer::Encoding encoding =
      mark.empty() ? tokenizer_.encode_with_ranges(example.text) : literal_.encode(example.text, mark, spans);
  example.ids = encoding.ids;
  example.mask.assign(example.ids.size(), all ? 1 : 0);
  mark_targets(example, encoding, spans);
  check_target(example, options_.require_target);
  return example;
}

Example ExampleBuilder::build_prompt(const Record& record) const {
  if (record.messages.is_list()) return build_prompt(record.messages, record.tools);
  Example example;
  example.text = record.prompt;
  example.ids = encode_text(example).ids;
  if (adds_bos()) example.ids.insert(example.ids.begin(), *tokenizer_.special_tokens().bos);
  example.mask.assign(example.ids.size(), 0);
  return example;
}

Tokenizer::Encoding ExampleBuilder::encode_text(Example& example) const {
  example.special_text_in_content = literal_.is_in(std::string_view(example.text));
  const bool literal = options_.special_tokens_in_content == "literal";
  Tokenizer::Encoding encoding =
      tokenizer_.encode_with_ranges(example.text, literal ? SpecialText::kLiteral : SpecialText::kParse);
  if (encoding.ids.empty()) bad("the text is empty");
  return encoding;
}

/// Whether the post-processor puts BOS in front.
bool ExampleBuilder::adds_bos() const {
  const std::vector<TokenId> around = tokenizer_.encode_with_post_processor("");
  const SpecialTokens& special = tokenizer_.special_tokens();
  return special.bos && !around.empty() && around.front() == *special.bos;
}

Example ExampleBuilder::build_text(const std::string& prompt, const std::string& completion) const {
  Example example;
  example.text = prompt + completion;
  const Tokenizer::Encoding encoding = encode_text(example);
  const bool all = prompt.empty() || options_.loss_on == "all";
  example.ids = encoding.ids;
  example.mask.assign(example.ids.size(), all ? 1 : 0);
  if (!all) mark_targets(example, encoding, {{prompt.size(), example.text.size()}});
  // EOS is ours to add where the text does not end with it.
  const SpecialTokens& special = tokenizer_.special_tokens();
  if (adds_bos()) {
    example.ids.insert(example.ids.begin(), *special.bos);
    example.mask.insert(example.mask.begin(), all ? 1 : 0);
  }
  if (special.eos && example.ids.back() != *special.eos) {
    example.ids.push_back(*special.eos);
    example.mask.push_back(1);
  }
  check_target(example, options_.require_target);
  return example;
}

Example ExampleBuilder::build_tokens(const Record& record) const {
  for (const TokenId id : record.ids) {
    if (id >= tokenizer_.vocab_size())
      bad(fmt::format("\"input_ids\" has {} but the tokenizer's ids are 0 to {}; was it another tokenizer?",
                      id, tokenizer_.vocab_size() - 1));
  }
  Example example;
  example.text = tokenizer_.decode(record.ids, /*skip_special_tokens=*/false);
  example.ids = record.ids;
  example.mask = record.mask;
  if (options_.loss_on == "all") example.mask.assign(example.ids.size(), 1);
  check_target(example, options_.require_target);
  return example;
}

std::vector<ByteRange> ExampleBuilder::wanted_turns(const RenderedChat& chat, const Record& record) const {
  const bool only_last = options_.loss_on == "last_turn" ||
                         (options_.loss_on == "completion" && record.num_prompt_messages == 0);
  std::vector<ByteRange> wanted;
  for (size_t turn = 0; turn < chat.turns.size(); ++turn) {
    if (only_last && turn + 1 != chat.turns.size()) continue;
    const size_t message = chat.turn_messages[turn];
    if (message >= record.num_prompt_messages && is_learned(record.messages.items()[message]))
      wanted.push_back(chat.turns[turn]);
  }
  return wanted;
}

bool ExampleBuilder::keep_literal(const Value& messages, const Value& tools, bool* has_special) const {
  *has_special = literal_.is_in(messages) || literal_.is_in(tools);
  return *has_special && options_.special_tokens_in_content == "literal";
}

const ChatTemplate& ExampleBuilder::chat_template() const {
  if (template_) return *template_;
  core::fail(core::ExitCode::kBadConfig,
             "the model has no chat template, which messages need; set model.chat_template, or use "
             "prompt/completion records of text");
}

}  // namespace phalanx::data
