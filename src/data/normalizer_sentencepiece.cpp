#include <utf8proc.h>

#include <algorithm>

#include "data/base64.h"
#include "data/charsmap.h"
#include "data/normalizer.h"
#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

constexpr std::string_view kMetaSpace = "\xE2\x96\x81";  // U+2581

std::string charsmap_bytes(const JsonValue& value) {
  const auto text = value.find("precompiled_charsmap");
  if (!text) return {};
  auto bytes = from_base64(text->text());
  if (!bytes) text->fail(TokenizerErrorKind::kSchema, "is not base64");
  return std::move(*bytes);
}

/// The library's use of a charsmap: entries are looked for at whole graphemes of up to 5 bytes, then at
/// characters, and the shortest entry counts.
class Precompiled : public Normalizer {
 public:
  Precompiled(std::string bytes, const std::string& source) : map_(std::move(bytes), source) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    EditBuilder edited(text);
    const char* const end = text.data() + text.size();
    for (const char* p = text.data(); p < end;) {
      const char* const begin = p;
      p = grapheme_end(p, end);
      const std::string_view grapheme(begin, static_cast<size_t>(p - begin));
      if (grapheme.size() < 6) {
        if (const auto match = map_.shortest(grapheme)) {
          edited.replace(grapheme, match->replacement);
          continue;
        }
      }
      for (const char* at = begin; at < p;) {
        const char* const character = at;
        next_code_point(at);
        const std::string_view part(character, static_cast<size_t>(at - character));
        if (const auto match = map_.shortest(part)) edited.replace(part, match->replacement);
      }
    }
    return edited.finish();
  }

 private:
  static const char* grapheme_end(const char* p, const char* end) {
    utf8proc_int32_t state = 0;
    auto c = static_cast<utf8proc_int32_t>(next_code_point(p));
    while (p < end) {
      const char* next = p;
      const auto d = static_cast<utf8proc_int32_t>(next_code_point(next));
      if (utf8proc_grapheme_break_stateful(c, d, &state)) break;
      p = next;
      c = d;
    }
    return p;
  }

  Charsmap map_;
};

struct SentencePieceOptions {
  bool add_dummy_prefix, add_dummy_suffix, remove_extra_whitespaces, escape_whitespaces;
};

/// sentencepiece's own: the longest entry of the charsmap, runs of spaces to one, spaces to U+2581, one
/// before or behind a text that is not all spaces. User-defined pieces stay as they are.
class SentencePieceForm : public Normalizer {
 public:
  SentencePieceForm(std::string charsmap, const SentencePieceOptions& options,
                    std::vector<std::string> pieces, const std::string& source)
      : map_(std::move(charsmap), source), options_(options), pieces_(std::move(pieces)) {
    std::sort(pieces_.begin(), pieces_.end(),
              [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
    for (const std::string& piece : pieces_) begins_piece_[static_cast<uint8_t>(piece.front())] = true;
  }

  std::optional<EditedText> apply(std::string_view text) const override {
    EditBuilder edited(text);
    size_t at = 0;
    while (options_.remove_extra_whitespaces && at < text.size()) {
      const Charsmap::Match next = prefix(text.substr(at));
      if (next.replacement != " ") break;
      at += next.length;
    }
    const bool has_prefix = options_.add_dummy_prefix && at < text.size();
    const bool has_suffix = options_.add_dummy_suffix && at < text.size();
    if (at > 0 || has_prefix) edited.replace(text.substr(0, at), has_prefix ? space() : "");
    bool behind_space = options_.remove_extra_whitespaces;
    std::string replacement;
    while (at < text.size()) {
      const Charsmap::Match next = prefix(text.substr(at));
      std::string_view normal = next.replacement;
      while (behind_space && normal.starts_with(' ')) normal.remove_prefix(1);
      if (!normal.empty()) behind_space = options_.remove_extra_whitespaces && normal.back() == ' ';
      const std::string_view part = text.substr(at, next.length);
      at += next.length;
      if (options_.escape_whitespaces && normal.find(' ') != std::string_view::npos) {
        replacement.clear();
        for (const char c : normal) c == ' ' ? replacement += kMetaSpace : replacement += c;
        edited.replace(part, replacement);
      } else if (normal != part) {
        edited.replace(part, normal);
      }
    }
    if (has_suffix) edited.replace(text.substr(text.size()), space());
    return edited.finish();
  }

 private:
  std::string_view space() const { return options_.escape_whitespaces ? kMetaSpace : std::string_view(" "); }

  Charsmap::Match prefix(std::string_view text) const {
    if (begins_piece_[static_cast<uint8_t>(text.front())]) {
      for (const std::string& piece : pieces_) {
        if (text.starts_with(piece)) return {piece.size(), text.substr(0, piece.size())};
      }
    }
    if (const auto match = map_.longest(text)) return *match;
    const char* p = text.data();
    next_code_point(p);
    const auto length = static_cast<size_t>(p - text.data());
    return {length, text.substr(0, length)};
  }

  Charsmap map_;
  SentencePieceOptions options_;
  std::vector<std::string> pieces_;  // longest first
  bool begins_piece_[256] = {};
};

/// Takes `space` away at the end, as often as it stands there; all but one of them where a text ends with
/// one.
class SentencePieceEnd : public Normalizer {
 public:
  SentencePieceEnd(std::string_view space, bool keeps_one) : space_(space), keeps_one_(keeps_one) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    std::string_view kept = text;
    while (kept.ends_with(space_)) kept.remove_suffix(space_.size());
    if (keeps_one_ && kept.size() < text.size()) kept = text.substr(0, kept.size() + space_.size());
    EditBuilder edited(text);
    if (kept.size() < text.size()) edited.replace(text.substr(kept.size()), "");
    return edited.finish();
  }

 private:
  std::string_view space_;
  bool keeps_one_;
};

}  // namespace

void add_precompiled(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type", "precompiled_charsmap"});
  chain.push_back(std::make_unique<Precompiled>(charsmap_bytes(value), value.file()));
}

void add_sentencepiece_normalizer(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type", "precompiled_charsmap", "add_dummy_prefix", "remove_extra_whitespaces",
                    "escape_whitespaces", "treat_whitespace_as_suffix", "user_defined"});
  const bool as_suffix = value.at("treat_whitespace_as_suffix").boolean();
  const bool dummy = value.at("add_dummy_prefix").boolean();
  const SentencePieceOptions options{
      .add_dummy_prefix = dummy && !as_suffix,
      .add_dummy_suffix = dummy && as_suffix,
      .remove_extra_whitespaces = value.at("remove_extra_whitespaces").boolean(),
      .escape_whitespaces = value.at("escape_whitespaces").boolean()};
  std::vector<std::string> pieces;
  for (const JsonValue& piece : value.at("user_defined").items()) {
    if (piece.text().empty()) piece.wrong("at least one character");
    pieces.emplace_back(piece.text());
  }
  chain.push_back(
      std::make_unique<SentencePieceForm>(charsmap_bytes(value), options, std::move(pieces), value.file()));
  if (!options.remove_extra_whitespaces) return;
  chain.push_back(std::make_unique<SentencePieceEnd>(options.escape_whitespaces ? kMetaSpace : " ",
                                                     /*keeps_one=*/options.add_dummy_suffix));
}

}  // namespace phalanx::data
