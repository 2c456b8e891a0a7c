#include <algorithm>

#include "data/bpe_alphabet.h"
#include "data/pre_tokenizer.h"
#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

/// A space before a piece that does not begin with one.
class PrefixSpace : public Rewriter {
 public:
  void rewrite(std::string_view piece, bool /*is_start*/, EditedText& out) const override {
    if (!piece.starts_with(' ')) out.replace(" ", 0);
    out.copy(piece);
  }
};

class Gpt2Split : public Splitter {
 public:
  void split(std::string_view text, Piece part, std::vector<Piece>& out) const override {
    scan(KnownPattern::kGpt2, text, part, out);
  }
};

/// Each byte becomes its character of the byte-level alphabet.
class ByteAlphabet : public Rewriter {
 public:
  void rewrite(std::string_view piece, bool /*is_start*/, EditedText& out) const override {
    const char* const end = piece.data() + piece.size();
    for (const char* p = piece.data(); p < end;) {
      const char* const begin = p;
      next_code_point(p);
      const std::string_view character(begin, static_cast<size_t>(p - begin));
      out.replace(to_byte_level(character), character.size());
    }
  }
};

enum class PrependScheme { kAlways, kFirst, kNever };

PrependScheme read_prepend_scheme(const JsonValue& value) {
  const auto scheme = value.find("prepend_scheme");
  const std::string_view name = scheme ? scheme->text() : "always";
  if (name != "always" && name != "first" && name != "never") scheme->wrong("always, first or never");
  if (!value.flag("add_prefix_space", true) && name != "never") {
    value.fail(TokenizerErrorKind::kSchema, "add_prefix_space is false, but prepend_scheme is \"{}\"", name);
  }
  return name == "always"  ? PrependScheme::kAlways
         : name == "first" ? PrependScheme::kFirst
                           : PrependScheme::kNever;
}

/// Spaces become the replacement, and one is put before the piece.
class MetaspaceRewriter : public Rewriter {
 public:
  MetaspaceRewriter(std::string replacement, PrependScheme scheme)
      : replacement_(std::move(replacement)), scheme_(scheme) {}

  void rewrite(std::string_view piece, bool is_start, EditedText& out) const override {
    const bool wants_prefix =
        scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && is_start);
    if (wants_prefix && !piece.starts_with(' ') && !piece.starts_with(replacement_))
      out.replace(replacement_, 0);
    for (size_t at = 0; at < piece.size();) {
      const size_t space = std::min(piece.find(' ', at), piece.size());
      out.copy(piece.substr(at, space - at));
      if (space < piece.size()) out.replace(replacement_, 1);
      at = space + 1;
    }
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
};

/// A new piece begins at each replacement.
class MetaspaceSplitter : public Splitter {
 public:
  explicit MetaspaceSplitter(std::string replacement) : replacement_(std::move(replacement)) {}

  void split(std::string_view text, Piece part, std::vector<Piece>& out) const override {
    const std::string_view piece = text.substr(part.begin, part.end - part.begin);
    for (size_t at = 0; at < piece.size();) {
      const size_t next = std::min(piece.find(replacement_, at + 1), piece.size());
      out.push_back({part.begin + static_cast<uint32_t>(at), part.begin + static_cast<uint32_t>(next)});
      at = next;
    }
  }

 private:
  std::string replacement_;
};

}  // namespace

void add_byte_level(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  if (value.at("add_prefix_space").boolean()) stages.push_back({.rewriter = std::make_unique<PrefixSpace>()});
  if (value.flag("use_regex", true)) stages.push_back({.splitter = std::make_unique<Gpt2Split>()});
  stages.push_back({.rewriter = std::make_unique<ByteAlphabet>(), .is_byte_alphabet = true});
}

void add_metaspace(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  value.at("replacement").character();
  const std::string replacement(value.at("replacement").text());
  stages.push_back(
      {.rewriter = std::make_unique<MetaspaceRewriter>(replacement, read_prepend_scheme(value))});
  if (value.flag("split", true))
    stages.push_back({.splitter = std::make_unique<MetaspaceSplitter>(replacement)});
}

}  // namespace phalanx::data
