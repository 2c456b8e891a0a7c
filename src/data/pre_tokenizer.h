#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/pre_tokenizer_regex.h"
#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// The chain of pre-tokenizers: cuts a text into the pieces that BPE never merges across.
class PreTokenizer {
 public:
  /// @throws TokenizerError kRegex for a pattern that we cannot run exactly as the reference does.
  PreTokenizer(const std::vector<PreTokenizerStep>& steps, const std::string& source);

  /// Appends the non-empty pieces of `text` (valid UTF-8) to `out`. Bytes that a Split removed are in no
  /// piece.
  void split(std::string_view text, std::vector<Piece>& out) const;

  /// With a true answer each piece of split() still needs a space put before it where it has none, and then
  /// split_last().
  bool adds_prefix_space() const { return adds_prefix_space_; }
  void split_last(std::string_view text, Piece part, std::vector<Piece>& out) const;

 private:
  struct PatternSplit {
    std::variant<KnownPattern, Regex> pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct Digits {
    bool individual;
  };
  using Step = std::variant<PatternSplit, Digits>;

  static void apply(const Step& step, std::string_view text, Piece part, std::vector<Piece>& out);
  static void apply_pattern(const PatternSplit& split, std::string_view text, Piece part,
                            std::vector<Piece>& out);

  std::vector<Step> steps_;
  std::vector<Step> last_;  // the pattern of ByteLevel when it runs after the prefix space; none or one
  bool adds_prefix_space_ = false;
};

}  // namespace phalanx::data
