#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer_edits.h"
#include "data/tokenizer_json_value.h"

namespace phalanx::data {

/// One normalizer of tokenizer.json.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// The normal form of valid UTF-8, or nothing when `text` is in it already.
  virtual std::optional<EditedText> apply(std::string_view text) const = 0;
};

using Normalizers = std::vector<std::unique_ptr<const Normalizer>>;

/// The chain that the "normalizer" part of tokenizer.json describes (its JSON text; empty: no normalizer).
/// @throws TokenizerError kSchema for a type or a field that we do not have, kRegex for a pattern.
Normalizers make_normalizers(const std::string& json, const std::string& source);

/// `text` through the whole chain.
std::string normal_form(const Normalizers& normalizers, std::string_view text);

// Each of these appends what its type of tokenizer.json stands for.
void add_unicode_form(const JsonValue& value, Normalizers& chain);  // NFC NFD NFKC NFKD
void add_lowercase(const JsonValue& value, Normalizers& chain);
void add_strip_accents(const JsonValue& value, Normalizers& chain);
void add_bert_normalizer(const JsonValue& value, Normalizers& chain);
void add_replace(const JsonValue& value, Normalizers& chain);
void add_prepend(const JsonValue& value, Normalizers& chain);
void add_strip(const JsonValue& value, Normalizers& chain);
void add_byte_level_normalizer(const JsonValue& value, Normalizers& chain);
void add_precompiled(const JsonValue& value, Normalizers& chain);
/// "SentencePiece" is no type of the reference library: a .model file is read to it.
void add_sentencepiece_normalizer(const JsonValue& value, Normalizers& chain);

}  // namespace phalanx::data
