#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/base64.h"
#include "data/protobuf.h"
#include "data/sentencepiece_bpe.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_formats.h"
#include "data/tokenizer_utf8.h"

namespace phalanx::data {

namespace {

using enum TokenizerErrorKind;

constexpr size_t kMaxPieces = 4'000'000;
enum ModelType : int32_t { kUnigram = 1, kBpe = 2 };

/// A ModelProto; field numbers and defaults of sentencepiece_model.proto.
struct ModelProto {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<PieceType> types;
  // TrainerSpec
  int32_t model_type = kUnigram;
  bool treat_whitespace_as_suffix = false, byte_fallback = false;
  int32_t unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  // NormalizerSpec
  std::string charsmap;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  bool has_denormalizer = false;
};

void read_piece(std::string_view bytes, const std::string& source, ModelProto& model) {
  std::string_view piece;
  float score = 0;
  int32_t type = static_cast<int32_t>(PieceType::kNormal);
  ProtobufMessage message(bytes, source);
  while (message.next()) {
    if (message.field() == 1) piece = message.text();
    if (message.field() == 2) score = message.float32();
    if (message.field() == 3) type = message.int32();
  }
  const size_t id = model.pieces.size();
  if (id >= kMaxPieces) fail_tokenizer(kTooLarge, "{}: has more than {} pieces", source, kMaxPieces);
  if (type < 1 || type > 6)
    fail_tokenizer(kVocab, "{}: piece {} has type {}; 1 to 6 are known", source, id, type);
  if (piece.empty() || first_invalid_utf8(piece))
    fail_tokenizer(kVocab, "{}: piece {} is {}", source, id, piece.empty() ? "empty" : "not valid UTF-8");
  if (!std::isfinite(score)) fail_tokenizer(kVocab, "{}: piece {} has the score {}", source, id, score);
  model.pieces.emplace_back(piece);
  model.scores.push_back(score);
  model.types.push_back(static_cast<PieceType>(type));
}

void read_trainer_spec(std::string_view bytes, const std::string& source, ModelProto& model) {
  ProtobufMessage message(bytes, source);
  while (message.next()) {
    switch (message.field()) {
      case 3:
        model.model_type = message.int32();
        break;
      case 24:
        model.treat_whitespace_as_suffix = message.boolean();
        break;
      case 35:
        model.byte_fallback = message.boolean();
        break;
      case 40:
        model.unk_id = message.int32();
        break;
      case 41:
        model.bos_id = message.int32();
        break;
      case 42:
        model.eos_id = message.int32();
        break;
      case 43:
        model.pad_id = message.int32();
        break;
      default:
        break;  // how it was trained
    }
  }
}

void read_normalizer_spec(std::string_view bytes, const std::string& source, ModelProto& model) {
  ProtobufMessage message(bytes, source);
  while (message.next()) {
    if (message.field() == 2) model.charsmap = message.text();
    if (message.field() == 3) model.add_dummy_prefix = message.boolean();
    if (message.field() == 4) model.remove_extra_whitespaces = message.boolean();
    if (message.field() == 5) model.escape_whitespaces = message.boolean();
  }
}

ModelProto read_model_proto(std::string_view bytes, const std::string& source) {
  ModelProto model;
  ProtobufMessage message(bytes, source);
  while (message.next()) {
    if (message.field() == 1) read_piece(message.text(), source, model);
    if (message.field() == 2) read_trainer_spec(message.text(), source, model);
    if (message.field() == 3) read_normalizer_spec(message.text(), source, model);
    if (message.field() == 5) {
      ProtobufMessage denormalizer(message.text(), source);
      while (denormalizer.next())
        if (denormalizer.field() == 2) model.has_denormalizer = !denormalizer.text().empty();
    }
  }
  if (model.pieces.empty()) fail_tokenizer(kVocab, "{}: has no pieces; it is no SentencePiece model", source);
  if (model.has_denormalizer)
    fail_tokenizer(kSchema, "{}: has a denormalizer, which is not supported; train the model without one",
                   source);
  return model;
}

void set_unigram(const ModelProto& proto, TokenizerSpec& spec) {
  auto& model = spec.model.emplace<UnigramModel>();
  model.single_precision = true;
  model.byte_fallback = proto.byte_fallback;
  float lowest = std::numeric_limits<float>::max();
  float highest = std::numeric_limits<float>::min();  // above 0, as in sentencepiece
  for (size_t id = 0; id < proto.pieces.size(); ++id) {
    if (proto.types[id] == PieceType::kUnknown) model.unk = static_cast<TokenId>(id);
    if (proto.types[id] != PieceType::kNormal) continue;
    lowest = std::min(lowest, proto.scores[id]);
    highest = std::max(highest, proto.scores[id]);
  }
  model.unk_score = lowest - 10.0f;
  for (size_t id = 0; id < proto.pieces.size(); ++id) {
    const bool is_user_defined = proto.types[id] == PieceType::kUserDefined;
    const bool is_text = is_user_defined || proto.types[id] == PieceType::kNormal;
    // A user-defined piece beats whatever else could cover it: scores are negative, `highest` about 0.
    const double score = is_user_defined ? static_cast<double>(proto.pieces[id].size()) * highest - 0.1
                                         : static_cast<double>(proto.scores[id]);
    model.scores.push_back(is_text ? score : -std::numeric_limits<double>::infinity());
  }
}

std::string normalizer_of(const ModelProto& proto) {
  std::vector<std::string> user_defined;
  bool has_space = false;
  for (size_t id = 0; id < proto.pieces.size(); ++id) {
    if (proto.types[id] != PieceType::kUserDefined) continue;
    user_defined.push_back(proto.pieces[id]);
    has_space = has_space || proto.pieces[id].find(' ') != std::string::npos;
  }
  const bool is_plain = proto.charsmap.empty() && !proto.remove_extra_whitespaces &&
                        proto.escape_whitespaces && !proto.treat_whitespace_as_suffix && !has_space;
  if (is_plain) return sentencepiece_escape(proto.add_dummy_prefix);
  const nlohmann::ordered_json json = {{"type", "SentencePiece"},
                                       {"precompiled_charsmap", to_base64(proto.charsmap)},
                                       {"add_dummy_prefix", proto.add_dummy_prefix},
                                       {"remove_extra_whitespaces", proto.remove_extra_whitespaces},
                                       {"escape_whitespaces", proto.escape_whitespaces},
                                       {"treat_whitespace_as_suffix", proto.treat_whitespace_as_suffix},
                                       {"user_defined", user_defined}};
  return json.dump();
}

void add_special_tokens(const ModelProto& proto, TokenizerSpec& spec) {
  for (size_t id = 0; id < proto.pieces.size(); ++id) {
    const PieceType type = proto.types[id];
    const auto token = static_cast<TokenId>(id);
    if (type == PieceType::kControl || type == PieceType::kUnknown) {
      spec.added_tokens.push_back({.id = token, .content = proto.pieces[id], .special = true});
    } else if (type == PieceType::kUserDefined && proto.model_type == kBpe) {
      spec.added_tokens.push_back(
          {.id = token, .content = proto.pieces[id], .normalized = true, .verbatim = true});
    }
  }
  const auto id_of = [&](int32_t id, PieceType wanted) -> std::optional<TokenId> {
    const bool is_there = id >= 0 && static_cast<size_t>(id) < proto.pieces.size();
    if (!is_there || proto.types[static_cast<size_t>(id)] != wanted) return std::nullopt;
    return id;
  };
  spec.special_tokens = {.bos = id_of(proto.bos_id, PieceType::kControl),
                         .eos = id_of(proto.eos_id, PieceType::kControl),
                         .pad = id_of(proto.pad_id, PieceType::kControl),
                         .unk = id_of(proto.unk_id, PieceType::kUnknown)};
}

}  // namespace

bool is_sentencepiece_model(std::string_view bytes) {
  // Field 1, a message: the length of the first piece, then its field 1, a string.
  return bytes.size() > 3 && bytes[0] == '\x0A' && static_cast<uint8_t>(bytes[1]) < 0x80 &&
         bytes[2] == '\x0A';
}

TokenizerSpec read_sentencepiece_model(std::string_view bytes, const std::string& file) {
  const ModelProto proto = read_model_proto(bytes, file);
  TokenizerSpec spec;
  spec.source = file;
  spec.tokens = proto.pieces;
  spec.num_model_tokens = static_cast<int64_t>(proto.pieces.size());
  if (proto.model_type == kBpe) {
    set_sentencepiece_bpe(spec, proto.scores, proto.types);
    std::get<BpeModel>(spec.model).byte_fallback = proto.byte_fallback;
  } else if (proto.model_type == kUnigram) {
    set_unigram(proto, spec);
  } else {
    fail_tokenizer(kSchema, "{}: model_type is {}; supported: 1 (UNIGRAM), 2 (BPE)", file, proto.model_type);
  }
  spec.normalizer = normalizer_of(proto);
  spec.decoder = sentencepiece_decoder(proto.add_dummy_prefix && !proto.treat_whitespace_as_suffix);
  add_special_tokens(proto, spec);
  return spec;
}

}  // namespace phalanx::data
