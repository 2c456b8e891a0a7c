#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer.h"

namespace phalanx::data {

/// A token that is found in the text before the pre-tokenizer sees it.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  ///< only between non-word characters
  bool lstrip = false;       ///< takes the whitespace on its left with it
  bool rstrip = false;       ///< takes the whitespace on its right with it
  bool normalized = false;   ///< looked for after normalization, in its own normalized form
  bool special =
      false;  ///< a control token: left out by decode(skip_special_tokens), literal for SpecialText::kLiteral
};

/// What becomes of the matches of a Split, as in tokenizer.json.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// One element of the pre-tokenizer chain.
struct PreTokenizerStep {
  enum class Kind { kSplit, kDigits, kByteLevel };
  Kind kind = Kind::kSplit;
  // kSplit
  std::string pattern = {};
  bool pattern_is_regex = true;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
  // kDigits
  bool individual_digits = true;
  // kByteLevel (always the last step)
  bool add_prefix_space = false;
  bool use_regex = true;
};

/// `left` and `right` become `result`; the place in the list of merges is the rank.
struct Merge {
  TokenId left, right, result;
};

/// All that decides ids, as data: what tokenizer.json or the GGUF keys say, checked.
struct TokenizerSpec {
  std::string source;  ///< the file, for messages
  std::vector<std::string>
      tokens;                    ///< id -> text as in the file (byte-level alphabet), added tokens included
  int64_t num_model_tokens = 0;  ///< ids below it belong to the BPE model; added tokens may stand there too
  std::vector<Merge> merges;
  bool ignore_merges = false;        ///< a pre-token that is a token is taken whole
  std::optional<TokenId> model_unk;  ///< for bytes that have no token
  bool fuse_unk = false;
  std::vector<AddedToken> added_tokens;
  bool normalize_nfc = false;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<TokenId> prefix, suffix;  ///< of the post-processor
  SpecialTokens special_tokens;
  std::vector<TokenId> stop_ids;
  std::string chat_template;
  /// Name and bytes of the files that it was read from; empty for a GGUF. save_hf writes them back unchanged.
  std::vector<std::pair<std::string, std::string>> files;
};

}  // namespace phalanx::data
