#include "data/sentencepiece_bpe.h"

#include <algorithm>
#include <unordered_map>

#include "data/pre_tokenizer_tables.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

namespace {

bool is_one_character(std::string_view text) {
  const char* p = text.data();
  next_code_point(p);
  return p == text.data() + text.size();
}

/// Pieces that merges may make.
bool is_text_piece(PieceType type) {
  return type == PieceType::kNormal || type == PieceType::kUserDefined;
}

}  // namespace

void set_sentencepiece_bpe(TokenizerSpec& spec, const std::vector<float>& scores,
                           const std::vector<PieceType>& types) {
  auto& model = spec.model.emplace<BpeModel>();
  model.fuse_unk = true;
  std::unordered_map<std::string_view, TokenId> ids;
  std::vector<TokenId> pieces;  // in the order of merging
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] == PieceType::kUnknown) model.unk = static_cast<TokenId>(id);
    if (types[id] == PieceType::kByte) model.byte_fallback = true;
    if (types[id] == PieceType::kUnused) {
      fail_tokenizer(
          TokenizerErrorKind::kVocab,
          "{}: piece {} (\"{}\") is of type UNUSED, which a BPE model cannot have here; mark it NORMAL or "
          "remove it",
          spec.source, id, core::printable(spec.tokens[id], 40));
    }
    if (!is_text_piece(types[id]) || spec.tokens[id].empty()) continue;
    ids.emplace(spec.tokens[id], static_cast<TokenId>(id));
    pieces.push_back(static_cast<TokenId>(id));
  }
  const auto score = [&](TokenId id) { return scores[static_cast<size_t>(id)]; };
  std::stable_sort(pieces.begin(), pieces.end(), [&](TokenId a, TokenId b) { return score(a) > score(b); });

  std::unordered_map<std::string_view, TokenId> hidden;
  const auto id_of = [&](std::string_view part) -> TokenId {
    if (const auto found = ids.find(part); found != ids.end()) return found->second;
    if (!is_one_character(part)) return -1;
    const auto next = static_cast<TokenId>(spec.tokens.size() + hidden.size());
    const auto [entry, is_new] = hidden.emplace(part, next);
    if (is_new) model.hidden.emplace_back(part);
    return entry->second;
  };
  uint32_t rank = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0 && score(pieces[i]) != score(pieces[i - 1])) ++rank;
    const std::string_view piece = spec.tokens[static_cast<size_t>(pieces[i])];
    const char* const end = piece.data() + piece.size();
    const char* p = piece.data();
    for (next_code_point(p); p < end; next_code_point(p)) {
      const auto length = static_cast<size_t>(p - piece.data());
      const TokenId left = id_of(piece.substr(0, length));
      const TokenId right = left < 0 ? -1 : id_of(piece.substr(length));
      if (right >= 0) model.merges.push_back({left, right, pieces[i], rank});
    }
  }
}

std::string sentencepiece_decoder(bool strips) {
  std::string json =
      R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
      R"({"type":"ByteFallback"},{"type":"Fuse"})";
  if (strips) json += R"(,{"type":"Strip","content":" ","start":1,"stop":0})";
  return json + "]}";
}

std::string sentencepiece_escape(bool adds_prefix) {
  const std::string replace = R"({"type":"Replace","pattern":{"String":" "},"content":"▁"})";
  if (!adds_prefix) return replace;
  return R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},)" + replace + "]}";
}

}  // namespace phalanx::data
