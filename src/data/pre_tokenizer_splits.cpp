#include "data/normalizer_tables.h"
#include "data/pre_tokenizer.h"
#include "data/pre_tokenizer_tables.h"
#include "data/text_pattern.h"

namespace phalanx::data {

namespace {

class PatternSplit : public Splitter {
 public:
  PatternSplit(TextPattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void split(std::string_view text, Piece part, std::vector<Piece>& out) const override {
    // The known patterns match everywhere, so that there is nothing between two matches.
    const KnownPattern* known = pattern_.known();
    if (known && behavior_ == SplitBehavior::kIsolated) return scan(*known, text, part, out);
    auto parts = matches_and_gaps(
        part, invert_, [&](auto&& found) { pattern_.for_each_match(text, part.begin, part.end, found); });
    fold_parts(parts, behavior_, out);
  }

 private:
  TextPattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

/// Every character for which Is says so is a match.
template <typename Is>
class CharacterSplit : public Splitter {
 public:
  CharacterSplit(Is is, SplitBehavior behavior) : is_(std::move(is)), behavior_(behavior) {}

  void split(std::string_view text, Piece part, std::vector<Piece>& out) const override {
    auto parts = matches_and_gaps(part, /*invert=*/false, [&](auto&& found) {
      const char* const end = text.data() + part.end;
      for (const char* p = text.data() + part.begin; p < end;) {
        const auto at = static_cast<size_t>(p - text.data());
        if (is_(next_code_point(p))) found(at, static_cast<size_t>(p - text.data()));
      }
    });
    fold_parts(parts, behavior_, out);
  }

 private:
  Is is_;
  SplitBehavior behavior_;
};

template <typename Is>
void add_character_split(Is is, SplitBehavior behavior, PreTokenizerStages& stages) {
  stages.push_back({.splitter = std::make_unique<CharacterSplit<Is>>(is, behavior)});
}

class DigitsAlone : public Splitter {
 public:
  void split(std::string_view text, Piece part, std::vector<Piece>& out) const override {
    scan_digits(text, part, out);
  }
};

/// Runs of word characters and runs of others, without the spaces: \w+|[^\w\s]+
class WordsAndSigns : public Splitter {
 public:
  void split(std::string_view text, Piece part, std::vector<Piece>& out) const override {
    const char* const base = text.data();
    uint8_t previous = kSpace;
    for (const char* p = base + part.begin; p < base + part.end;) {
      const auto begin = static_cast<uint32_t>(p - base);
      const uint8_t classes = ClassTable::get()[next_code_point(p)];
      const uint8_t kind = classes & kWord ? kWord : classes & kSpace;
      const auto end = static_cast<uint32_t>(p - base);
      if (kind != kSpace) {
        if (kind == previous) {
          out.back().end = end;
        } else {
          out.push_back({begin, end});
        }
      }
      previous = kind;
    }
  }
};

bool is_white_space_character(uint32_t c) {
  return ClassTable::get()[c] & kSpace;
}
bool is_punctuation_character(uint32_t c) {
  return contains(kPunctuation, c);
}

}  // namespace

void add_split(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type", "pattern", "behavior", "invert"});
  stages.push_back({.splitter = std::make_unique<PatternSplit>(TextPattern(value.at("pattern"), value.file()),
                                                               read_split_behavior(value.at("behavior")),
                                                               value.flag("invert", false))});
}

void add_digits(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type", "individual_digits"});
  if (value.flag("individual_digits", false)) {
    stages.push_back({.splitter = std::make_unique<DigitsAlone>()});
  } else {
    add_character_split([](uint32_t c) { return (ClassTable::get()[c] & kDigit) != 0; },
                        SplitBehavior::kContiguous, stages);
  }
}

void add_whitespace(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type"});
  stages.push_back({.splitter = std::make_unique<WordsAndSigns>()});
}

void add_whitespace_split(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type"});
  add_character_split(is_white_space_character, SplitBehavior::kRemoved, stages);
}

void add_bert_pre_tokenizer(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type"});
  add_character_split(is_white_space_character, SplitBehavior::kRemoved, stages);
  add_character_split(is_punctuation_character, SplitBehavior::kIsolated, stages);
}

void add_punctuation(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type", "behavior"});
  const auto behavior = value.find("behavior");
  add_character_split(is_punctuation_character,
                      behavior ? read_split_behavior(*behavior) : SplitBehavior::kIsolated, stages);
}

void add_char_delimiter_split(const JsonValue& value, PreTokenizerStages& stages) {
  value.allow_keys({"type", "delimiter"});
  const uint32_t delimiter = value.at("delimiter").character();
  add_character_split([delimiter](uint32_t c) { return c == delimiter; }, SplitBehavior::kRemoved, stages);
}

}  // namespace phalanx::data
