#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
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
  /// A control token: left out by decode(skip_special_tokens), literal for SpecialText::kLiteral.
  bool special = false;
  /// With `normalized`: the content is in normal form already (SentencePiece's user-defined pieces).
  bool verbatim = false;
};

/// `left` and `right` become `result`; the lowest rank goes first, the leftmost of equal ones.
struct Merge {
  TokenId left, right, result;
  uint32_t rank;
};

/// Byte-pair encoding over bytes (behind a ByteLevel pre-tokenizer) or over characters.
struct BpeModel {
  std::vector<Merge> merges;
  bool ignore_merges = false;  ///< a pre-token that is a token is taken whole
  bool byte_fallback = false;  ///< characters without a token become <0xNN>
  bool fuse_unk = false;
  std::optional<TokenId> unk;
  std::string continuing_subword_prefix, end_of_word_suffix;
  /// Characters without a token that merges join all the same (SentencePiece): merges know them as the ids
  /// behind the last token.
  std::vector<std::string> hidden;
};

/// The segmentation of highest total score (Kudo 2018, arXiv:1804.10959).
struct UnigramModel {
  std::vector<double> scores;  ///< log p of each token; -infinity: not looked for in text
  double unk_score = 0;        ///< of a character that is no token
  bool byte_fallback = false;
  bool single_precision = false;  ///< scores are added in fp32, as SentencePiece does; else fp64
  std::optional<TokenId> unk;
};

/// The longest token first, again and again; all or nothing for a word.
struct WordPieceModel {
  TokenId unk = 0;
  std::string continuing_subword_prefix = "##";
  size_t max_input_chars_per_word = 100;
};

using ModelSpec = std::variant<BpeModel, UnigramModel, WordPieceModel>;

/// All that decides ids, as data: what the tokenizer's file says, checked.
struct TokenizerSpec {
  std::string source;               ///< the file, for messages
  std::vector<std::string> tokens;  ///< id -> text as in the file, added tokens included; empty: no such id
  int64_t first_model_token = 0;    ///< ids from it ...
  int64_t num_model_tokens = 0;  ///< ... to below this one are the model's; added tokens may stand there too
  ModelSpec model;
  std::vector<AddedToken> added_tokens;
  /// Parts of tokenizer.json, as JSON text; empty for none.
  std::string normalizer, pre_tokenizer, decoder;
  std::vector<TokenId> prefix, suffix;  ///< of the post-processor
  SpecialTokens special_tokens;
  std::vector<TokenId> stop_ids;
  std::string chat_template;
  /// Name and bytes of the files that it was read from; empty for a GGUF. save_hf writes them back unchanged.
  std::vector<std::pair<std::string, std::string>> files;
};

}  // namespace phalanx::data
