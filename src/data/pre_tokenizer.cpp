#include "data/pre_tokenizer.h"

#include <algorithm>

#include "data/pre_tokenizer_pattern.h"
#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

struct Part {
  Piece piece;
  bool is_match;
};

/// The reference's folding of matches (and what is between them) into pieces.
void fold(std::vector<Part>& parts, SplitBehavior behavior, std::vector<Piece>& out) {
  const size_t first_out = out.size();
  bool previous = false;
  const auto extend_or_add = [&](const Part& part, bool extends) {
    if (extends && out.size() > first_out) {
      out.back().end = part.piece.end;
    } else {
      out.push_back(part.piece);
    }
    previous = part.is_match;
  };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Part& part : parts) out.push_back(part.piece);
      break;
    case SplitBehavior::kRemoved:
      for (const Part& part : parts) {
        if (!part.is_match) out.push_back(part.piece);
      }
      break;
    case SplitBehavior::kContiguous:
      for (const Part& part : parts) extend_or_add(part, part.is_match == previous);
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Part& part : parts) extend_or_add(part, part.is_match && !previous);
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

/// Matches and gaps of `part`, in order.
template <typename ForEachMatch>
std::vector<Part> matches_and_gaps(Piece part, bool invert, ForEachMatch&& for_each_match) {
  std::vector<Part> parts;
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

void digit_runs(std::string_view text, Piece part, std::vector<Piece>& out) {
  std::vector<Part> parts = matches_and_gaps(part, /*invert=*/false, [&](auto&& found) {
    const char* end = text.data() + part.end;
    for (const char* p = text.data() + part.begin; p < end;) {
      const auto at = static_cast<size_t>(p - text.data());
      if (ClassTable::get()[next_code_point(p)] & kDigit) found(at, static_cast<size_t>(p - text.data()));
    }
  });
  fold(parts, SplitBehavior::kContiguous, out);
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerStep>& steps, const std::string& source) {
  for (const PreTokenizerStep& step : steps) {
    if (step.kind == PreTokenizerStep::Kind::kDigits) {
      steps_.push_back(Digits{step.individual_digits});
    } else if (step.kind == PreTokenizerStep::Kind::kSplit) {
      const std::string& text = step.pattern;
      const auto known = step.pattern_is_regex ? known_pattern(text) : std::nullopt;
      const auto compile = [&] {
        return Regex(step.pattern_is_regex ? translate_pattern(text, source) : quote_pattern(text), source);
      };
      PatternSplit split{KnownPattern::kGpt2, step.behavior, step.invert};
      if (known) {
        split.pattern = *known;
      } else {
        split.pattern = compile();
      }
      steps_.push_back(std::move(split));
    } else {
      adds_prefix_space_ = step.add_prefix_space;
      if (step.use_regex) {
        (adds_prefix_space_ ? last_ : steps_)
            .push_back(PatternSplit{KnownPattern::kGpt2, SplitBehavior::kIsolated, /*invert=*/false});
      }
    }
  }
}

void PreTokenizer::split(std::string_view text, std::vector<Piece>& out) const {
  const Piece whole{0, static_cast<uint32_t>(text.size())};
  if (text.empty()) return;
  if (steps_.empty()) return out.push_back(whole);
  if (steps_.size() == 1) return apply(steps_.front(), text, whole, out);
  std::vector<Piece> coarse = {whole};
  std::vector<Piece> fine;
  for (size_t i = 0; i < steps_.size(); ++i) {
    std::vector<Piece>& target = i + 1 == steps_.size() ? out : fine;
    for (const Piece& part : coarse) apply(steps_[i], text, part, target);
    coarse.swap(fine);
    fine.clear();
  }
}

void PreTokenizer::split_last(std::string_view text, Piece part, std::vector<Piece>& out) const {
  if (last_.empty()) return out.push_back(part);
  apply(last_.front(), text, part, out);
}

void PreTokenizer::apply(const Step& step, std::string_view text, Piece part, std::vector<Piece>& out) {
  if (const auto* digits = std::get_if<Digits>(&step)) {
    return digits->individual ? scan_digits(text, part, out) : digit_runs(text, part, out);
  }
  apply_pattern(std::get<PatternSplit>(step), text, part, out);
}

void PreTokenizer::apply_pattern(const PatternSplit& split, std::string_view text, Piece part,
                                 std::vector<Piece>& out) {
  if (const auto* known = std::get_if<KnownPattern>(&split.pattern)) {
    if (split.behavior == SplitBehavior::kIsolated) return scan(*known, text, part, out);
    // The known patterns match everywhere, so that there is nothing between two matches.
    std::vector<Piece> matches;
    scan(*known, text, part, matches);
    std::vector<Part> parts;
    for (const Piece& match : matches) parts.push_back({match, !split.invert});
    return fold(parts, split.behavior, out);
  }
  std::vector<Part> parts = matches_and_gaps(part, split.invert, [&](auto&& found) {
    std::get<Regex>(split.pattern).for_each_match(text, part.begin, part.end, found);
  });
  fold(parts, split.behavior, out);
}

}  // namespace phalanx::data
