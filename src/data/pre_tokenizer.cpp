#include "data/pre_tokenizer.h"

#include <algorithm>

#include "data/json_kinds.h"

namespace phalanx::data {

namespace {

constexpr JsonKind<PreTokenizerStages> kPreTokenizerKinds[] = {
    {"ByteLevel", add_byte_level},
    {"Split", add_split},
    {"Metaspace", add_metaspace},
    {"Digits", add_digits},
    {"Whitespace", add_whitespace},
    {"WhitespaceSplit", add_whitespace_split},
    {"BertPreTokenizer", add_bert_pre_tokenizer},
    {"Punctuation", add_punctuation},
    {"CharDelimiterSplit", add_char_delimiter_split},
};

/// Rewrites every piece of `out`; what is in no piece goes.
void rewrite_pieces(const Rewriter& rewriter, EditPath& path, PreTokenized& out) {
  EditedText& edited = out.edits.emplace_back();
  uint32_t done = 0;
  for (Piece& piece : out.pieces) {
    if (done < piece.begin) edited.replace("", piece.begin - done);
    done = piece.end;
    const auto begin = static_cast<uint32_t>(edited.text().size());
    rewriter.rewrite(out.text.substr(piece.begin, piece.end - piece.begin), path.is_start(piece.begin),
                     edited);
    piece = {begin, static_cast<uint32_t>(edited.text().size())};
  }
  out.text = edited.text();
  path.push(&edited);
  const auto is_empty = [](const Piece& piece) { return piece.begin == piece.end; };
  out.pieces.erase(std::remove_if(out.pieces.begin(), out.pieces.end(), is_empty), out.pieces.end());
}

}  // namespace

PreTokenizer::PreTokenizer(const std::string& json, const std::string& source) {
  if (json.empty()) return;
  const JsonDocument document(json, source, "pre_tokenizer");
  for_each_in_sequence(document.root(), "pretokenizers",
                       [&](const JsonValue& value) { add_kind(value, kPreTokenizerKinds, stages_); });
}

void PreTokenizer::run(std::string_view text, EditPath& path, PreTokenized& out) const {
  out.text = text;
  out.pieces.clear();
  out.edits.clear();
  if (text.empty()) return;
  const Piece whole{0, static_cast<uint32_t>(text.size())};
  size_t first = 0;
  uint64_t num_made = 0;
  if (!stages_.empty() && stages_.front().splitter) {
    stages_.front().splitter->split(text, whole, out.pieces);
    first = 1;
  } else {
    out.pieces.push_back(whole);
  }
  for (size_t i = first; i < stages_.size(); ++i) {
    if (stages_[i].rewriter) {
      rewrite_pieces(*stages_[i].rewriter, path, out);
      check_growth(num_made += out.text.size(), text.size(), kMaxGrowth);
      continue;
    }
    out.scratch.swap(out.pieces);
    out.pieces.clear();
    for (const Piece& piece : out.scratch) stages_[i].splitter->split(out.text, piece, out.pieces);
  }
}

SplitBehavior read_split_behavior(const JsonValue& value) {
  static constexpr std::pair<std::string_view, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  for (const auto& [name, behavior] : kNames) {
    if (value.text() == name) return behavior;
  }
  value.wrong("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

void fold_parts(std::vector<SplitPart>& parts, SplitBehavior behavior, std::vector<Piece>& out) {
  const size_t first_out = out.size();
  bool previous = false;
  const auto extend_or_add = [&](const SplitPart& part, bool extends) {
    if (extends && out.size() > first_out) {
      out.back().end = part.piece.end;
    } else {
      out.push_back(part.piece);
    }
    previous = part.is_match;
  };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const SplitPart& part : parts) out.push_back(part.piece);
      break;
    case SplitBehavior::kRemoved:
      for (const SplitPart& part : parts) {
        if (!part.is_match) out.push_back(part.piece);
      }
      break;
    case SplitBehavior::kContiguous:
      for (const SplitPart& part : parts) extend_or_add(part, part.is_match == previous);
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const SplitPart& part : parts) extend_or_add(part, part.is_match && !previous);
      break;
    case SplitBehavior::kMergedWithNext: {
      std::vector<Piece> reversed;
      for (size_t i = parts.size(); i-- > 0;) {
        if (parts[i].is_match && !previous && !reversed.empty()) {
          reversed.back().begin = parts[i].piece.begin;
        } else {
          reversed.push_back(parts[i].piece);
        }
        previous = parts[i].is_match;
      }
      out.insert(out.end(), reversed.rbegin(), reversed.rend());
      break;
    }
  }
  const auto is_empty = [](const Piece& piece) { return piece.begin == piece.end; };
  out.erase(std::remove_if(out.begin() + static_cast<ptrdiff_t>(first_out), out.end(), is_empty), out.end());
}

}  // namespace phalanx::data
