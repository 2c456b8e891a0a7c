#pragma once
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/edit_path.h"
#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer_json_value.h"

namespace phalanx::data {

/// Cuts a piece of a text.
class Splitter {
 public:
  virtual ~Splitter() = default;
  /// Appends the non-empty parts of text[part.begin, part.end) to `out`; what is removed is in none of them.
  virtual void split(std::string_view text, Piece part, std::vector<Piece>& out) const = 0;
};

/// Changes the characters of a piece.
class Rewriter {
 public:
  virtual ~Rewriter() = default;
  /// Appends what `piece` becomes. @param is_start  does it stand where the user's text begins?
  virtual void rewrite(std::string_view piece, bool is_start, EditedText& out) const = 0;
};

/// One of the two; a type of tokenizer.json is one stage or several.
struct PreTokenizerStage {
  std::unique_ptr<const Splitter> splitter = nullptr;
  std::unique_ptr<const Rewriter> rewriter = nullptr;
  bool is_byte_alphabet = false;  ///< the rewriter puts each byte as its character of the byte-level alphabet
};
using PreTokenizerStages = std::vector<PreTokenizerStage>;

/// What the chain made of a text; kept from call to call for its memory.
struct PreTokenized {
  std::string_view text;
  std::vector<Piece> pieces;
  std::deque<EditedText> edits;  ///< from the text that was given to `text`, all on the path
  std::vector<Piece> scratch;
};

/// The chain of pre-tokenizers: cuts a text into the pieces that a model never looks beyond.
class PreTokenizer {
 public:
  /// @param json  the "pre_tokenizer" part of tokenizer.json; empty: the text is one piece.
  /// @throws TokenizerError kSchema for what we do not have, kRegex for a pattern that we cannot run exactly
  /// as the reference does.
  PreTokenizer(const std::string& json, const std::string& source);

  /// Valid UTF-8 to pieces. `path` gets the edits made on the way; the caller takes out.edits.size() of them
  /// off again.
  void run(std::string_view text, EditPath& path, PreTokenized& out) const;

  /// Does the chain end with the byte-level alphabet? Then a model that works on bytes can do without that
  /// stage.
  bool ends_in_bytes() const { return !stages_.empty() && stages_.back().is_byte_alphabet; }
  void leave_bytes() { stages_.pop_back(); }

 private:
  PreTokenizerStages stages_;
};

/// What becomes of the matches of a pattern, as in tokenizer.json.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
SplitBehavior read_split_behavior(const JsonValue& value);

/// A match of a pattern, or what lies between two.
struct SplitPart {
  Piece piece;
  bool is_match;
};
/// The reference's folding of matches and gaps into pieces.
void fold_parts(std::vector<SplitPart>& parts, SplitBehavior behavior, std::vector<Piece>& out);

/// Matches and gaps of `part`, in order. for_each_match(found) calls found(begin, end) for each match.
template <typename ForEachMatch>
std::vector<SplitPart> matches_and_gaps(Piece part, bool invert, ForEachMatch&& for_each_match) {
  std::vector<SplitPart> parts;
  uint32_t previous_end = part.begin;
  for_each_match([&](size_t begin, size_t end) {
    const Piece match{static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
    if (previous_end != match.begin) parts.push_back({{previous_end, match.begin}, invert});
    parts.push_back({match, !invert});
    previous_end = match.end;
  });
  if (previous_end != part.end) parts.push_back({{previous_end, part.end}, invert});
  return parts;
}

// Each of these appends the stages of its type.
void add_split(const JsonValue& value, PreTokenizerStages& stages);
void add_byte_level(const JsonValue& value, PreTokenizerStages& stages);
void add_metaspace(const JsonValue& value, PreTokenizerStages& stages);
void add_digits(const JsonValue& value, PreTokenizerStages& stages);
void add_whitespace(const JsonValue& value, PreTokenizerStages& stages);
void add_whitespace_split(const JsonValue& value, PreTokenizerStages& stages);
void add_bert_pre_tokenizer(const JsonValue& value, PreTokenizerStages& stages);
void add_punctuation(const JsonValue& value, PreTokenizerStages& stages);
void add_char_delimiter_split(const JsonValue& value, PreTokenizerStages& stages);

}  // namespace phalanx::data
