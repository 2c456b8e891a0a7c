#include "data/decoder_stages.h"

#include <algorithm>
#include <utility>

#include "data/bpe_alphabet.h"
#include "data/byte_tokens.h"
#include "data/text_pattern.h"
#include "data/tokenizer_edits.h"
#include "data/tokenizer_utf8.h"

namespace phalanx::data {

namespace {

std::string replace_all(std::string text, std::string_view what, std::string_view with) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
  return text;
}

/// Spaces that English writing does not have, as the reference takes them away.
std::string clean_up(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kPairs[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [what, with] : kPairs) text = replace_all(std::move(text), what, with);
  return text;
}

/// Characters of the byte-level alphabet to bytes; one text of valid UTF-8 comes out.
class ByteLevelDecoder : public TokenStage {
 public:
  void token(std::string token, const Next& next) override {
    pending_ += plain(std::move(token));
    const size_t settled = settled_utf8_bytes(pending_);
    next(to_valid_utf8(std::string_view(pending_).substr(0, settled)), false);
    pending_.erase(0, settled);
  }
  void finish(const Next& next) override {
    TokenStage::finish(next);
    next(to_valid_utf8(std::exchange(pending_, {})), true);
  }
  std::string plain(std::string token) const override {
    auto bytes = from_byte_level(token);
    return bytes ? std::move(*bytes) : token;
  }
  std::unique_ptr<DecoderStage> fresh() const override { return std::make_unique<ByteLevelDecoder>(); }

 private:
  std::string pending_;
};

class MetaspaceDecoder : public TokenStage {
 public:
  MetaspaceDecoder(std::string replacement, bool has_prefix)
      : replacement_(std::move(replacement)), has_prefix_(has_prefix) {}

  void token(std::string token, const Next& next) override {
    const bool drops = std::exchange(is_first_, false) && has_prefix_;
    next(replace_all(std::move(token), replacement_, drops ? "" : " "), true);
  }
  std::string plain(std::string token) const override {
    return replace_all(std::move(token), replacement_, " ");
  }
  std::unique_ptr<DecoderStage> fresh() const override {
    return std::make_unique<MetaspaceDecoder>(replacement_, has_prefix_);
  }

 private:
  std::string replacement_;
  bool has_prefix_;
  bool is_first_ = true;
};

/// Runs of <0xNN> become the characters that their bytes spell; when they spell none, each byte is U+FFFD.
class ByteFallbackDecoder : public TokenStage {
 public:
  void token(std::string token, const Next& next) override {
    if (const auto byte = byte_of_token(token)) {
      run_ += static_cast<char>(*byte);
      return;
    }
    end_run(next);
    next(token, true);
  }
  void finish(const Next& next) override {
    TokenStage::finish(next);
    end_run(next);
  }
  std::string plain(std::string token) const override {
    const auto byte = byte_of_token(token);
    return byte ? std::string(1, static_cast<char>(*byte)) : token;
  }
  std::unique_ptr<DecoderStage> fresh() const override { return std::make_unique<ByteFallbackDecoder>(); }

 private:
  void end_run(const Next& next) {
    if (run_.empty()) return;
    const std::string run = std::exchange(run_, {});
    if (!first_invalid_utf8(run)) return next(run, true);
    for (size_t i = 0; i < run.size(); ++i) next("\xEF\xBF\xBD", true);
  }
  std::string run_;
};

/// All tokens become one.
class FuseDecoder : public DecoderStage {
 public:
  void push(std::string_view part, bool /*ends*/, const Next& next) override { next(part, false); }
  void finish(const Next& next) override { next("", true); }
  std::string plain(std::string token) const override { return token; }
  std::unique_ptr<DecoderStage> fresh() const override { return std::make_unique<FuseDecoder>(); }
};

/// Takes up to `start` and `stop` of one character away at the ends of a token.
class StripDecoder : public DecoderStage {
 public:
  StripDecoder(std::string content, size_t start, size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop), left_(start) {}

  void push(std::string_view part, bool ends, const Next& next) override {
    pending_ += part;
    std::string_view text = pending_;
    while (left_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --left_;
    }
    if (!text.empty() && !content_.starts_with(text)) left_ = 0;
    if (ends) {
      for (size_t i = 0; i < stop_ && text.ends_with(content_); ++i) text.remove_suffix(content_.size());
      left_ = start_;
      next(text, true);
      pending_.clear();
    } else if (stop_ > 0 || left_ > 0) {
      pending_ = std::string(text);  // its end may still go
    } else {
      next(text, false);
      pending_.clear();
    }
  }
  void finish(const Next& next) override {
    if (!pending_.empty()) push("", true, next);
  }
  std::string plain(std::string token) const override { return token; }
  std::unique_ptr<DecoderStage> fresh() const override {
    return std::make_unique<StripDecoder>(content_, start_, stop_);
  }

 private:
  std::string content_;
  size_t start_, stop_;
  size_t left_;  // that may still be taken at the start
  std::string pending_;
};

class ReplaceDecoder : public TokenStage {
 public:
  ReplaceDecoder(std::shared_ptr<const TextPattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  void token(std::string token, const Next& next) override { next(plain(std::move(token)), true); }
  std::string plain(std::string token) const override {
    std::string out;
    size_t done = 0;
    pattern_->for_each_match(token, 0, token.size(), [&](size_t begin, size_t end) {
      out.append(token, done, begin - done).append(content_);
      done = end;
      check_growth(out.size(), done, 1);
    });
    return out.append(token, done);
  }
  std::unique_ptr<DecoderStage> fresh() const override {
    return std::make_unique<ReplaceDecoder>(pattern_, content_);
  }

 private:
  std::shared_ptr<const TextPattern> pattern_;
  std::string content_;
};

class WordPieceDecoder : public TokenStage {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

  void token(std::string token, const Next& next) override {
    if (!std::exchange(is_first_, false)) token = plain(std::move(token));
    next(cleanup_ ? clean_up(std::move(token)) : token, true);
  }
  std::string plain(std::string token) const override {
    return token.starts_with(prefix_) ? token.substr(prefix_.size()) : " " + token;
  }
  std::unique_ptr<DecoderStage> fresh() const override {
    return std::make_unique<WordPieceDecoder>(prefix_, cleanup_);
  }

 private:
  std::string prefix_;
  bool cleanup_;
  bool is_first_ = true;
};

/// The suffix of a word's last token becomes a space, of the text's last token nothing.
class BpeDecoder : public TokenStage {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}

  void token(std::string token, const Next& next) override {
    if (last_) next(plain(std::move(*last_)), true);
    last_ = std::move(token);
  }
  void finish(const Next& next) override {
    TokenStage::finish(next);
    if (last_) next(replace_all(std::move(*last_), suffix_, ""), true);
    last_.reset();
  }
  std::string plain(std::string token) const override { return replace_all(std::move(token), suffix_, " "); }
  std::unique_ptr<DecoderStage> fresh() const override { return std::make_unique<BpeDecoder>(suffix_); }

 private:
  std::string suffix_;
  std::optional<std::string> last_;
};

/// Connectionist temporal classification: repeated tokens once, without the padding.
class CtcDecoder : public TokenStage {
 public:
  CtcDecoder(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}

  void token(std::string token, const Next& next) override {
    if (previous_ == token) return;
    previous_ = token;
    const std::string text = plain(std::move(token));
    if (!text.empty()) next(text, true);
  }
  std::string plain(std::string token) const override {
    token = replace_all(std::move(token), pad_, "");
    return cleanup_ ? replace_all(clean_up(std::move(token)), delimiter_, " ") : token;
  }
  std::unique_ptr<DecoderStage> fresh() const override {
    return std::make_unique<CtcDecoder>(pad_, delimiter_, cleanup_);
  }

 private:
  std::string pad_, delimiter_;
  bool cleanup_;
  std::optional<std::string> previous_;
};

class SpaceJoin : public TokenStage {
 public:
  void token(std::string token, const Next& next) override {
    next(std::exchange(is_first_, false) ? token : " " + token, true);
  }
  std::string plain(std::string token) const override { return token; }
  std::unique_ptr<DecoderStage> fresh() const override { return std::make_unique<SpaceJoin>(); }

 private:
  bool is_first_ = true;
};

std::string text_not_empty(const JsonValue& value) {
  if (value.text().empty()) value.wrong("at least one character");
  return std::string(value.text());
}

size_t count_of(const JsonValue& value) {
  if (value.integer() < 0) value.wrong("0 or more");
  return static_cast<size_t>(value.integer());
}

}  // namespace

void add_byte_level_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  stages.push_back(std::make_unique<ByteLevelDecoder>());
}

void add_metaspace_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  const auto scheme = value.find("prepend_scheme");
  value.at("replacement").character();
  stages.push_back(std::make_unique<MetaspaceDecoder>(std::string(value.at("replacement").text()),
                                                      !scheme || scheme->text() != "never"));
}

void add_byte_fallback_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type"});
  stages.push_back(std::make_unique<ByteFallbackDecoder>());
}

void add_fuse_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type"});
  stages.push_back(std::make_unique<FuseDecoder>());
}

void add_strip_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type", "content", "start", "stop"});
  value.at("content").character();
  stages.push_back(std::make_unique<StripDecoder>(std::string(value.at("content").text()),
                                                  count_of(value.at("start")), count_of(value.at("stop"))));
}

void add_replace_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type", "pattern", "content"});
  stages.push_back(
      std::make_unique<ReplaceDecoder>(std::make_shared<const TextPattern>(value.at("pattern"), value.file()),
                                       std::string(value.at("content").text())));
}

void add_wordpiece_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type", "prefix", "cleanup"});
  stages.push_back(
      std::make_unique<WordPieceDecoder>(text_not_empty(value.at("prefix")), value.at("cleanup").boolean()));
}

void add_bpe_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type", "suffix"});
  stages.push_back(std::make_unique<BpeDecoder>(text_not_empty(value.at("suffix"))));
}

void add_ctc_decoder(const JsonValue& value, DecoderStages& stages) {
  value.allow_keys({"type", "pad_token", "word_delimiter_token", "cleanup"});
  stages.push_back(std::make_unique<CtcDecoder>(text_not_empty(value.at("pad_token")),
                                                text_not_empty(value.at("word_delimiter_token")),
                                                value.at("cleanup").boolean()));
}

std::unique_ptr<DecoderStage> make_space_join() {
  return std::make_unique<SpaceJoin>();
}

}  // namespace phalanx::data
