#include "data/tokenizer_pipeline.h"

#include "data/jinja_parser.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_utf8.h"

namespace phalanx::data {

namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 31;

/// What the texts of all tokens may grow to together.
class TokenTextLimit {
 public:
  void count(size_t bytes, size_t source_bytes, const std::string& source) {
    made_ += bytes;
    given_ += source_bytes;
    if (made_ > kAllowed + kMaxRuleGrowth * given_)
      fail_tokenizer(TokenizerErrorKind::kTooLarge,
                     "{}: its normalizer or decoder makes {} bytes and more of tokens of {}", source, made_,
                     given_);
  }

 private:
  static constexpr uint64_t kAllowed = uint64_t{64} << 20;
  uint64_t made_ = 0, given_ = 0;
};

/// The tokens, those that are looked for in normal form in that form, as in the reference.
std::vector<std::string> token_texts(const TokenizerSpec& spec, const Normalizers& normalizers) {
  std::vector<std::string> texts = spec.tokens;
  TokenTextLimit limit;
  for (const AddedToken& token : spec.added_tokens) {
    const bool as_written = !token.normalized || token.verbatim;
    std::string& text = texts[static_cast<size_t>(token.id)];
    text = as_written ? token.content : normal_form(normalizers, token.content);
    limit.count(text.size(), token.content.size(), spec.source);
  }
  return texts;
}

/// What every token stands for: added tokens for their own text.
std::vector<std::string> plain_tokens(const TokenizerSpec& spec, const std::vector<std::string>& texts,
                                      const Decoder& decoder) {
  std::vector<std::string> bytes;
  bytes.reserve(texts.size());
  TokenTextLimit limit;
  for (const std::string& text : texts) {
    bytes.push_back(decoder.plain(text));
    limit.count(bytes.back().size(), text.size(), spec.source);
  }
  for (const AddedToken& token : spec.added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (!token.verbatim) bytes[id] = texts[id];
  }
  return bytes;
}

/// Tokens through a chain of decoders.
class DecoderStream : public DecodedStream {
 public:
  DecoderStream(const Tokenizer& tokenizer, const Decoder& decoder, const std::vector<std::string>& tokens,
                bool skip_special_tokens)
      : tokenizer_(tokenizer), tokens_(tokens), skip_special_tokens_(skip_special_tokens), stream_(decoder) {}

  std::string push(TokenId id) override {
    const bool is_known = id >= 0 && static_cast<size_t>(id) < tokens_.size();
    if (!is_known || (skip_special_tokens_ && tokenizer_.is_special(id))) return {};
    return stream_.push(tokens_[static_cast<size_t>(id)]);
  }
  std::string finish() override { return stream_.finish(); }

 private:
  const Tokenizer& tokenizer_;
  const std::vector<std::string>& tokens_;
  bool skip_special_tokens_;
  Decoder::Stream stream_;
};

}  // namespace

/// Ids, and with `ranges` the bytes of the user's text behind them.
struct PipelineTokenizer::Sink {
  std::vector<TokenId> ids = {};
  std::vector<std::pair<uint32_t, uint32_t>>* ranges = nullptr;
  EditPath path = {};
  PreTokenized pieces = {};
  std::vector<uint32_t> lengths = {};

  void add_range(uint32_t begin, uint32_t end) {
    if (ranges) ranges->push_back(path.to_source(begin, end));
  }
  void add_token(TokenId id, uint32_t begin, uint32_t end) {
    ids.push_back(id);
    add_range(begin, end);
  }
};

PipelineTokenizer::PipelineTokenizer(TokenizerSpec spec)
    : spec_(std::move(spec)),
      normalizers_(make_normalizers(spec_.normalizer, spec_.source)),
      decoder_(spec_.decoder, spec_.source),
      texts_(token_texts(spec_, normalizers_)),
      bytes_(plain_tokens(spec_, texts_, decoder_)),
      is_special_(spec_.tokens.size(), false),
      raw_added_(spec_.added_tokens, /*normalized=*/false, normalizers_, spec_.source),
      normalized_added_(spec_.added_tokens, /*normalized=*/true, normalizers_, spec_.source),
      pre_tokenizer_(spec_.pre_tokenizer, spec_.source),
      fingerprint_(fingerprint_of(spec_)) {
  if (spec_.chat_template.size() > jinja::kMaxSourceBytes)
    fail_tokenizer(TokenizerErrorKind::kTooLarge, "{}: its chat template has {} bytes, {} at most are read",
                   spec_.source, spec_.chat_template.size(), jinja::kMaxSourceBytes);
  const bool on_bytes = pre_tokenizer_.ends_in_bytes() && can_work_on_bytes(spec_);
  if (on_bytes) pre_tokenizer_.leave_bytes();
  model_ = make_token_model(spec_, on_bytes);
  ids_.reserve(spec_.tokens.size());
  for (size_t id = 0; id < spec_.tokens.size(); ++id)
    if (!spec_.tokens[id].empty()) ids_.emplace(spec_.tokens[id], static_cast<TokenId>(id));
  for (const AddedToken& token : spec_.added_tokens) {
    if (token.special) is_special_[static_cast<size_t>(token.id)] = true;
  }
}

std::vector<TokenId> PipelineTokenizer::encode(std::string_view text, SpecialText special) const {
  Sink sink;
  encode_text(text, special, sink);
  return std::move(sink.ids);
}

Tokenizer::Encoding PipelineTokenizer::encode_with_ranges(std::string_view text, SpecialText special) const {
  Encoding encoding;
  Sink sink;
  sink.ranges = &encoding.byte_ranges;
  encode_text(text, special, sink);
  encoding.ids = std::move(sink.ids);
  return encoding;
}

std::vector<TokenId> PipelineTokenizer::encode_with_post_processor(std::string_view text) const {
  Sink sink;
  sink.ids = spec_.prefix;
  encode_text(text, SpecialText::kParse, sink);
  sink.ids.insert(sink.ids.end(), spec_.suffix.begin(), spec_.suffix.end());
  return std::move(sink.ids);
}

void PipelineTokenizer::check_text(std::string_view text) const {
  if (text.size() > kMaxTextBytes) {
    fail_tokenizer(TokenizerErrorKind::kTooLarge,
                   "a text of {} bytes cannot be encoded at once; split it below {}", text.size(),
                   kMaxTextBytes);
  }
  if (const auto at = first_invalid_utf8(text)) {
    fail_tokenizer(TokenizerErrorKind::kText,
                   "a text is not valid UTF-8 at byte {} (\"{}\"); convert it to UTF-8", *at,
                   core::printable(text.substr(*at), 16));
  }
}

void PipelineTokenizer::encode_text(std::string_view text, SpecialText special, Sink& sink) const {
  check_text(text);
  sink.path.start(0);
  if (raw_added_.empty()) return encode_raw(text, special, sink);
  for (const auto& part : raw_added_.split(text, special)) {
    if (part.token) {
      sink.path.start(0);
      sink.add_token(part.token->id, part.begin, part.end);
    } else {
      sink.path.start(part.begin);
      encode_raw(text.substr(part.begin, part.end - part.begin), special, sink);
    }
  }
}

void PipelineTokenizer::encode_raw(std::string_view text, SpecialText special, Sink& sink) const {
  std::deque<EditedText> edits;
  const size_t num_bytes = text.size();
  uint64_t num_made = 0;
  for (const auto& normalizer : normalizers_) {
    auto edited = normalizer->apply(text);
    if (!edited) continue;
    edits.push_back(std::move(*edited));
    sink.path.push(&edits.back());
    text = edits.back().text();
    check_growth(num_made += text.size(), num_bytes, kMaxGrowth);
  }
  encode_normalized(text, special, sink);
  for (size_t i = 0; i < edits.size(); ++i) sink.path.pop();
}

void PipelineTokenizer::encode_normalized(std::string_view text, SpecialText special, Sink& sink) const {
  if (normalized_added_.empty()) return encode_plain(text, sink);
  for (const auto& part : normalized_added_.split(text, special)) {
    if (part.token) {
      sink.add_token(part.token->id, part.begin, part.end);
      continue;
    }
    const uint32_t before = sink.path.enter(part.begin);
    encode_plain(text.substr(part.begin, part.end - part.begin), sink);
    sink.path.leave(before);
  }
}

void PipelineTokenizer::encode_plain(std::string_view text, Sink& sink) const {
  PreTokenized& pieces = sink.pieces;
  pre_tokenizer_.run(text, sink.path, pieces);
  if (!sink.ranges) {
    model_->encode(pieces.text, pieces.pieces, sink.ids, nullptr);
  } else {
    sink.lengths.clear();
    model_->encode(pieces.text, pieces.pieces, sink.ids, &sink.lengths);
    size_t token = 0;
    for (const Piece& piece : pieces.pieces) {
      for (uint32_t at = piece.begin; at < piece.end; ++token) {
        sink.add_range(at, at + sink.lengths[token]);
        at += sink.lengths[token];
      }
    }
  }
  for (size_t i = 0; i < pieces.edits.size(); ++i) sink.path.pop();
}

std::string_view PipelineTokenizer::token_bytes(TokenId id) const {
  return knows(id) ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view();
}

std::string PipelineTokenizer::decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const {
  if (!decoder_.is_byte_level()) {
    const auto stream = text_stream(skip_special_tokens);
    std::string text;
    for (const TokenId id : ids) text += stream->push(id);
    return text + stream->finish();
  }
  std::string bytes;
  for (const TokenId id : ids) {
    if (!skip_special_tokens || !is_special(id)) bytes += token_bytes(id);
  }
  return to_valid_utf8(bytes);
}

std::unique_ptr<DecodedStream> PipelineTokenizer::text_stream(bool skip_special_tokens) const {
  if (decoder_.is_byte_level()) return Tokenizer::text_stream(skip_special_tokens);
  return std::make_unique<DecoderStream>(*this, decoder_, texts_, skip_special_tokens);
}

std::optional<TokenId> PipelineTokenizer::token_to_id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

bool PipelineTokenizer::is_special(TokenId id) const {
  return knows(id) && is_special_[static_cast<size_t>(id)];
}

}  // namespace phalanx::data
