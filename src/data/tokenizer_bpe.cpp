#include "data/tokenizer_bpe.h"

#include "data/bpe_alphabet.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_normalizer.h"
#include "data/tokenizer_utf8.h"

namespace phalanx::data {

namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 31;

/// Decoded bytes of every token: added tokens and tokens outside the byte-level alphabet are their own text.
std::vector<std::string> decoded_tokens(const TokenizerSpec& spec) {
  std::vector<std::string> bytes;
  bytes.reserve(spec.tokens.size());
  for (const std::string& token : spec.tokens) {
    auto decoded = from_byte_level(token);
    bytes.push_back(decoded ? std::move(*decoded) : token);
  }
  for (const AddedToken& token : spec.added_tokens) bytes[static_cast<size_t>(token.id)] = token.content;
  return bytes;
}

}  // namespace

/// Ids, and with `ranges` the bytes of the user's text behind them. `edits` lead from the text at hand back
/// to that text, the innermost last.
struct BpeTokenizer::Sink {
  std::vector<TokenId> ids = {};
  std::vector<std::pair<uint32_t, uint32_t>>* ranges = nullptr;
  std::vector<std::pair<const EditedText*, uint32_t>> path =
      {};             // edits, and where their source begins in its text
  uint32_t base = 0;  // where the text at hand begins in the innermost text
  std::vector<Piece> pieces = {};
  std::vector<uint32_t> lengths = {};

  void add_range(uint32_t begin, uint32_t end) {
    if (!ranges) return;
    begin += base;
    end += base;
    for (size_t i = path.size(); i-- > 0;) {
      std::tie(begin, end) = path[i].first->to_source(begin, end);
      begin += path[i].second;
      end += path[i].second;
    }
    ranges->emplace_back(begin, end);
  }

  void add_token(TokenId id, uint32_t begin, uint32_t end) {
    ids.push_back(id);
    add_range(begin, end);
  }
};

BpeTokenizer::BpeTokenizer(TokenizerSpec spec)
    : spec_(std::move(spec)),
      bytes_(decoded_tokens(spec_)),
      is_special_(spec_.tokens.size(), false),
      raw_added_(spec_.added_tokens, /*normalized=*/false, spec_.normalize_nfc, spec_.source),
      normalized_added_(spec_.added_tokens, /*normalized=*/true, spec_.normalize_nfc, spec_.source),
      pre_tokenizer_(spec_.pre_tokenizer, spec_.source),
      bpe_(spec_),
      fingerprint_(fingerprint_of(spec_)) {
  ids_.reserve(spec_.tokens.size());
  for (size_t id = 0; id < spec_.tokens.size(); ++id)
    ids_.emplace(spec_.tokens[id], static_cast<TokenId>(id));
  for (const AddedToken& token : spec_.added_tokens) {
    if (token.special) is_special_[static_cast<size_t>(token.id)] = true;
  }
}

std::vector<TokenId> BpeTokenizer::encode(std::string_view text, SpecialText special) const {
  Sink sink;
  encode_text(text, special, sink);
  return std::move(sink.ids);
}

Tokenizer::Encoding BpeTokenizer::encode_with_ranges(std::string_view text, SpecialText special) const {
  Encoding encoding;
  Sink sink;
  sink.ranges = &encoding.byte_ranges;
  encode_text(text, special, sink);
  encoding.ids = std::move(sink.ids);
  return encoding;
}

std::vector<TokenId> BpeTokenizer::encode_with_post_processor(std::string_view text) const {
  Sink sink;
  sink.ids = spec_.prefix;
  encode_text(text, SpecialText::kParse, sink);
  sink.ids.insert(sink.ids.end(), spec_.suffix.begin(), spec_.suffix.end());
  return std::move(sink.ids);
}

void BpeTokenizer::check_text(std::string_view text) const {
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

void BpeTokenizer::encode_text(std::string_view text, SpecialText special, Sink& sink) const {
  check_text(text);
  if (raw_added_.empty()) return encode_raw(text, special, sink);
  for (const auto& part : raw_added_.split(text, special)) {
    if (part.token) {
      sink.base = 0;
      sink.add_token(part.token->id, part.begin, part.end);
    } else {
      sink.base = part.begin;
      encode_raw(text.substr(part.begin, part.end - part.begin), special, sink);
    }
  }
}

void BpeTokenizer::encode_raw(std::string_view text, SpecialText special, Sink& sink) const {
  const auto edited = spec_.normalize_nfc ? normalize_nfc(text) : std::nullopt;
  if (!edited) return encode_normalized(text, special, sink);
  const uint32_t base = std::exchange(sink.base, 0);
  sink.path.emplace_back(&*edited, base);
  encode_normalized(edited->text(), special, sink);
  sink.path.pop_back();
  sink.base = base;
}

void BpeTokenizer::encode_normalized(std::string_view text, SpecialText special, Sink& sink) const {
  if (normalized_added_.empty()) return encode_plain(text, sink);
  const uint32_t base = sink.base;
  for (const auto& part : normalized_added_.split(text, special)) {
    if (part.token) {
      sink.base = base;
      sink.add_token(part.token->id, part.begin, part.end);
    } else {
      sink.base = base + part.begin;
      encode_plain(text.substr(part.begin, part.end - part.begin), sink);
    }
  }
  sink.base = base;
}

void BpeTokenizer::encode_plain(std::string_view text, Sink& sink) const {
  std::vector<Piece>& pieces = sink.pieces;
  pieces.clear();
  pre_tokenizer_.split(text, pieces);
  EditedText spaced;
  const uint32_t base = sink.base;
  if (pre_tokenizer_.adds_prefix_space()) {
    std::vector<Piece> fine;
    uint32_t done = 0;
    for (const Piece& piece : pieces) {
      const std::string_view word = text.substr(piece.begin, piece.end - piece.begin);
      spaced.replace("", piece.begin - done);  // what a Split removed
      const auto begin = static_cast<uint32_t>(spaced.text().size());
      if (word.front() != ' ') spaced.replace(" ", 0);
      spaced.copy(word);
      done = piece.end;
      pre_tokenizer_.split_last(spaced.text(), {begin, static_cast<uint32_t>(spaced.text().size())}, fine);
    }
    pieces.swap(fine);
    text = spaced.text();
    sink.path.emplace_back(&spaced, base);
    sink.base = 0;
  }
  if (!sink.ranges) {
    bpe_.encode(text, pieces, sink.ids, nullptr);
  } else {
    sink.lengths.clear();
    bpe_.encode(text, pieces, sink.ids, &sink.lengths);
    size_t token = 0;
    for (const Piece& piece : pieces) {
      for (uint32_t at = piece.begin; at < piece.end; ++token) {
        sink.add_range(at, at + sink.lengths[token]);
        at += sink.lengths[token];
      }
    }
  }
  if (pre_tokenizer_.adds_prefix_space()) sink.path.pop_back();
  sink.base = base;
}

std::string_view BpeTokenizer::token_bytes(TokenId id) const {
  return knows(id) ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view();
}

std::string BpeTokenizer::decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const TokenId id : ids) {
    if (!skip_special_tokens || !is_special(id)) bytes += token_bytes(id);
  }
  return to_valid_utf8(bytes);
}

std::optional<TokenId> BpeTokenizer::token_to_id(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

bool BpeTokenizer::is_special(TokenId id) const {
  return knows(id) && is_special_[static_cast<size_t>(id)];
}

}  // namespace phalanx::data
