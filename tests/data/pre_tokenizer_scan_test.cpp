#include "data/pre_tokenizer_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "data/pre_tokenizer_pattern.h"
#include "data/pre_tokenizer_regex.h"
#include "data/tokenizer_utf8.h"

namespace phalanx::data {
namespace {

void append_character(uint32_t c, std::string& text) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | c >> 18);
    text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  }
}

/// Characters that meet all of the patterns' cases, and any others.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kParts = {
      "a",      "B",       "Ab",     "aB",     "\u00e9", "\u01c5", "\u02b0",     "\u4e2d", "\u0301", "\u0e31",
      "\u0903", "1",       "23",     "\u00bd", "\u0663", " ",      "  ",         "\t",     "\n",     "\r\n",
      "\n\n",   "\u00a0",  "\u3000", "\u2028", "!",      "/",      "//",         "...",    "'",      "'s",
      "'LL",    "'\u017f", "'re",    "'V",     "-",      "_",      "\U0001F600", "\u200d", "\u20ac"};
  std::string text;
  const size_t length = random() % 14;
  for (size_t i = 0; i < length; ++i) {
    if (random() % 8 != 0) {
      text += kParts[random() % kParts.size()];
      continue;
    }
    const uint32_t c = random() % (random() % 2 == 0 ? 0x3000 : 0x30000);
    if (c < 0xD800 || c >= 0xE000) append_character(c, text);
  }
  return text;
}

TEST(PreTokenizerScan, SplitsAsTheRegularExpressionDoes) {
  using enum KnownPattern;
  std::mt19937 random(11);
  for (const KnownPattern pattern : {kGpt2, kLlama3, kQwen2, kO200k, kTekken}) {
    const std::string written(pattern_text(pattern));
    EXPECT_EQ(known_pattern(written), pattern);
    const Regex regex(translate_pattern(written, "test"), "test");
    for (int i = 0; i < 40000; ++i) {
      const std::string text = random_text(random);
      std::vector<std::string> wanted, found;
      regex.for_each_match(text, 0, text.size(), [&](size_t begin, size_t end) {
        wanted.push_back(text.substr(begin, end - begin));
      });
      std::vector<Piece> pieces;
      scan(pattern, text, {0, static_cast<uint32_t>(text.size())}, pieces);
      for (const Piece& piece : pieces) found.push_back(text.substr(piece.begin, piece.end - piece.begin));
      ASSERT_EQ(found, wanted) << written << " on \"" << text << "\"";
    }
  }
}

}  // namespace
}  // namespace phalanx::data
