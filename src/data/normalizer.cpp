#include "data/normalizer.h"

#include "data/json_kinds.h"

namespace phalanx::data {

namespace {

constexpr JsonKind<Normalizers> kNormalizerKinds[] = {
    {"NFC", add_unicode_form},
    {"NFD", add_unicode_form},
    {"NFKC", add_unicode_form},
    {"NFKD", add_unicode_form},
    {"Lowercase", add_lowercase},
    {"StripAccents", add_strip_accents},
    {"BertNormalizer", add_bert_normalizer},
    {"Replace", add_replace},
    {"Prepend", add_prepend},
    {"Strip", add_strip},
    {"ByteLevel", add_byte_level_normalizer},
    {"Precompiled", add_precompiled},
    {"SentencePiece", add_sentencepiece_normalizer},
};

}  // namespace

Normalizers make_normalizers(const std::string& json, const std::string& source) {
  Normalizers chain;
  if (json.empty()) return chain;
  const JsonDocument document(json, source, "normalizer");
  for_each_in_sequence(document.root(), "normalizers",
                       [&](const JsonValue& value) { add_kind(value, kNormalizerKinds, chain); });
  return chain;
}

std::string normal_form(const Normalizers& normalizers, std::string_view text) {
  std::string normal(text);
  for (const auto& normalizer : normalizers) {
    if (auto edited = normalizer->apply(normal)) normal = edited->text();
    check_growth(normal.size(), text.size(), kMaxGrowth);
  }
  return normal;
}

}  // namespace phalanx::data
