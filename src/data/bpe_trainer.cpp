#include "data/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <map>
#include <queue>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "data/bpe_alphabet.h"
#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

using PairKey = uint64_t;  // left << 32 | right: ordered as (left, right)

PairKey pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}
TokenId left_of(PairKey pair) {
  return static_cast<TokenId>(pair >> 32);
}
TokenId right_of(PairKey pair) {
  return static_cast<TokenId>(static_cast<uint32_t>(pair));
}

/// Text <-> id of all tokens so far.
class GrowingVocabulary {
 public:
  TokenId add(const std::string& token) {
    const auto [entry, is_new] = ids_.emplace(token, static_cast<TokenId>(tokens_.size()));
    if (is_new) tokens_.push_back(token);
    return entry->second;
  }
  const std::string& text(TokenId id) const { return tokens_[static_cast<size_t>(id)]; }
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  std::vector<std::string> take() { return std::move(tokens_); }

 private:
  std::unordered_map<std::string, TokenId> ids_;
  std::vector<std::string> tokens_;
};

/// Code points of the text, in order.
template <typename Use>
void for_each_character(std::string_view text, Use&& use) {
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const char* const begin = p;
    const uint32_t c = next_code_point(p);
    use(c, std::string_view(begin, static_cast<size_t>(p - begin)));
  }
}

/// The most frequent `limit` characters (0: all); of equally frequent ones the first code points.
std::vector<uint32_t> most_frequent(const std::map<uint32_t, int64_t>& counts, int64_t limit) {
  std::vector<std::pair<uint32_t, int64_t>> kept(counts.begin(), counts.end());
  if (limit > 0 && static_cast<size_t>(limit) < kept.size()) {
    std::stable_sort(kept.begin(), kept.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    kept.resize(static_cast<size_t>(limit));
    std::sort(kept.begin(), kept.end());
  }
  std::vector<uint32_t> characters;
  for (const auto& [character, count] : kept) characters.push_back(character);
  return characters;
}

/// The words as tokens, one behind the other, and every merge made in them.
class WordTokens {
 public:
  void begin_word(int64_t count) { words_.push_back({tokens_.size(), 0, count}); }
  void add(TokenId token) {
    tokens_.push_back(token);
    ++words_.back().size;
  }

  uint32_t size() const { return static_cast<uint32_t>(words_.size()); }
  int64_t count(uint32_t word) const { return words_[word].count; }

  template <typename Use>
  void for_each_pair(uint32_t word, Use&& use) const {
    const TokenId* const tokens = tokens_.data() + words_[word].begin;
    for (uint32_t i = 0; i + 1 < words_[word].size; ++i) use(pair_key(tokens[i], tokens[i + 1]));
  }

  /// Every `pair` of the word becomes `result`, from left to right; lost(pair) and made(pair) for each pair
  /// of neighbours that goes and comes with it, but for `pair` itself.
  template <typename Lost, typename Made>
  void merge(uint32_t word, PairKey pair, TokenId result, Lost&& lost, Made&& made) {
    TokenId* const tokens = tokens_.data() + words_[word].begin;
    const uint32_t size = words_[word].size;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < size; ++i) {
      if (i + 1 == size || tokens[i] != left_of(pair) || tokens[i + 1] != right_of(pair)) {
        tokens[kept++] = tokens[i];
        continue;
      }
      if (kept > 0) {
        lost(pair_key(tokens[kept - 1], left_of(pair)));
        made(pair_key(tokens[kept - 1], result));
      }
      if (i + 2 < size) {
        lost(pair_key(right_of(pair), tokens[i + 2]));
        made(pair_key(result, tokens[i + 2]));
      }
      tokens[kept++] = result;
      ++i;
    }
    words_[word].size = kept;
  }

 private:
  struct Place {
    size_t begin;
    uint32_t size;
    int64_t count;
  };
  std::vector<TokenId> tokens_;
  std::vector<Place> words_;
};

/// How often each pair of neighbours occurs, and the words in which it has come to be since it was last
/// queued.
class PairCounts {
 public:
  struct Entry {
    PairKey pair;
    int64_t count = 0;
    std::vector<uint32_t> words = {};
  };

  PairCounts() : slots_(size_t{1} << 16, kFree) {}

  /// Index of the pair's entry, made where there is none.
  uint32_t find(PairKey pair) {
    size_t at = home(pair);
    while (slots_[at] != kFree && entries_[slots_[at]].pair != pair) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at] != kFree) return slots_[at];
    const auto index = static_cast<uint32_t>(entries_.size());
    slots_[at] = index;
    entries_.push_back({pair});
    if (entries_.size() * 2 > slots_.size()) grow();
    return index;
  }
  Entry& operator[](uint32_t index) { return entries_[index]; }

  void lose(PairKey pair, int64_t count) { entries_[find(pair)].count -= count; }
  void gain(PairKey pair, int64_t count, uint32_t word) {
    const uint32_t index = find(pair);
    Entry& entry = entries_[index];
    entry.count += count;
    if (entry.words.empty()) grown_.push_back(index);
    if (entry.words.empty() || entry.words.back() != word) entry.words.push_back(word);
  }
  /// The pairs that gained words since it was last asked.
  std::vector<uint32_t> take_grown() { return std::exchange(grown_, {}); }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;

  size_t home(PairKey pair) const {
    const uint64_t mixed = (pair ^ pair >> 29) * 0x9E3779B97F4A7C15u;
    return (mixed ^ mixed >> 32) & (slots_.size() - 1);
  }
  void grow() {
    slots_.assign(slots_.size() * 2, kFree);
    for (size_t i = 0; i < entries_.size(); ++i) {
      size_t at = home(entries_[i].pair);
      while (slots_[at] != kFree) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = static_cast<uint32_t>(i);
    }
  }

  std::vector<uint32_t> slots_;  // a power of two, at most half of them taken
  std::vector<Entry> entries_;
  std::vector<uint32_t> grown_;
};

/// A pair with the count it had when it was queued, and the words to look at. A pair may stand here more than
/// once: its token can come to be by another merge, too.
struct Candidate {
  int64_t count;
  PairKey pair;
  uint32_t entry;
  uint32_t words;  // index of the list
};

struct GoesLater {
  bool operator()(const Candidate& a, const Candidate& b) const {
    if (a.count != b.count) return a.count < b.count;
    return a.pair != b.pair ? a.pair > b.pair : a.words > b.words;
  }
};

class MergeSearch {
 public:
  explicit MergeSearch(WordTokens words) : words_(std::move(words)) {
    for (uint32_t word = 0; word < words_.size(); ++word) {
      words_.for_each_pair(word, [&](PairKey pair) { pairs_.gain(pair, words_.count(word), word); });
    }
    queue_grown();
  }

  /// Merges until the vocabulary has `vocab_size` tokens or no pair is frequent enough.
  void run(int64_t vocab_size, int64_t min_frequency, GrowingVocabulary& vocabulary, TrainedBpe& out) {
    while (vocabulary.size() < vocab_size && !queue_.empty()) {
      Candidate top = queue_.top();
      queue_.pop();
      if (const int64_t count = pairs_[top.entry].count; count != top.count) {
        top.count = count;
        queue_.push(top);
        continue;
      }
      if (top.count < std::max<int64_t>(1, min_frequency)) return;
      const TokenId left = left_of(top.pair), right = right_of(top.pair);
      const TokenId result = vocabulary.add(vocabulary.text(left) + vocabulary.text(right));
      out.merges.push_back({left, right, result, 0});
      out.last_count = top.count;
      apply(top, result);
    }
  }

 private:
  void apply(const Candidate& top, TokenId result) {
    for (const uint32_t word : std::exchange(lists_[top.words], {})) {
      const int64_t count = words_.count(word);
      words_.merge(
          word, top.pair, result, [&](PairKey pair) { pairs_.lose(pair, count); },
          [&](PairKey pair) { pairs_.gain(pair, count, word); });
    }
    queue_grown();
  }

  void queue_grown() {
    for (const uint32_t entry : pairs_.take_grown()) {
      PairCounts::Entry& grown = pairs_[entry];
      std::vector<uint32_t> words = std::exchange(grown.words, {});
      if (grown.count <= 0) continue;
      words.shrink_to_fit();
      queue_.push({grown.count, grown.pair, entry, static_cast<uint32_t>(lists_.size())});
      lists_.push_back(std::move(words));
    }
  }

  WordTokens words_;
  PairCounts pairs_;
  std::vector<std::vector<uint32_t>> lists_;
  std::priority_queue<Candidate, std::vector<Candidate>, GoesLater> queue_;
};

/// The words as bytes; all 256 are added to the vocabulary.
WordTokens words_as_bytes(const std::vector<WordCounts::Word>& words, GrowingVocabulary& vocabulary) {
  std::map<std::string, uint8_t> characters;  // UTF-8 sorts as code points do
  for (int byte = 0; byte < 256; ++byte)
    characters.emplace(to_byte_level(std::string(1, static_cast<char>(byte))), static_cast<uint8_t>(byte));
  std::array<TokenId, 256> tokens{};
  for (const auto& [text, byte] : characters) tokens[byte] = vocabulary.add(text);
  WordTokens out;
  for (const WordCounts::Word& word : words) {
    out.begin_word(word.count);
    for (const char byte : word.text()) out.add(tokens[static_cast<uint8_t>(byte)]);
  }
  return out;
}

/// The words as characters; the most frequent `limit` of them (0: all) are added to the vocabulary. One
/// without a token vanishes, and its neighbours meet: as in the reference.
WordTokens words_as_characters(const std::vector<WordCounts::Word>& words, int64_t limit,
                               GrowingVocabulary& vocabulary) {
  std::map<uint32_t, int64_t> counts;
  std::unordered_map<uint32_t, std::string> texts;
  for (const WordCounts::Word& word : words) {
    for_each_character(word.text(), [&](uint32_t c, std::string_view text) {
      if ((counts[c] += word.count) == word.count) texts.emplace(c, text);
    });
  }
  std::unordered_map<uint32_t, TokenId> tokens;
  for (const uint32_t c : most_frequent(counts, limit)) tokens.emplace(c, vocabulary.add(texts[c]));
  WordTokens out;
  for (const WordCounts::Word& word : words) {
    out.begin_word(word.count);
    for_each_character(word.text(), [&](uint32_t c, std::string_view) {
      if (const auto found = tokens.find(c); found != tokens.end()) out.add(found->second);
    });
  }
  return out;
}

/// Of a pair that was merged twice the later merge counts.
void number_merges(std::vector<Merge>& merges) {
  std::unordered_map<PairKey, size_t> last;
  for (size_t i = 0; i < merges.size(); ++i) last[pair_key(merges[i].left, merges[i].right)] = i;
  std::vector<Merge> kept;
  for (size_t i = 0; i < merges.size(); ++i) {
    if (last[pair_key(merges[i].left, merges[i].right)] != i) continue;
    kept.push_back(merges[i]);
    kept.back().rank = static_cast<uint32_t>(kept.size() - 1);
  }
  merges = std::move(kept);
}

}  // namespace

TrainedBpe train_bpe(const WordCounts& words, const BpeTrainerOptions& options) {
  GrowingVocabulary vocabulary;
  for (const std::string& token : options.first_tokens) vocabulary.add(token);
  const int64_t num_first = vocabulary.size();
  const std::vector<WordCounts::Word> sorted = words.sorted();
  WordTokens tokens = options.on_bytes ? words_as_bytes(sorted, vocabulary)
                                       : words_as_characters(sorted, options.limit_alphabet, vocabulary);
  TrainedBpe trained;
  trained.alphabet_size = vocabulary.size() - num_first;
  if (vocabulary.size() > options.vocab_size) {
    core::fail(
        core::ExitCode::kBadConfig,
        "--vocab-size is {}, but {} special tokens and bytes and an alphabet of {} need {}; raise it{}",
        options.vocab_size, num_first, trained.alphabet_size, vocabulary.size(),
        options.on_bytes ? "" : ", or set --limit-alphabet");
  }
  MergeSearch(std::move(tokens)).run(options.vocab_size, options.min_frequency, vocabulary, trained);
  number_merges(trained.merges);
  trained.tokens = vocabulary.take();
  return trained;
}

}  // namespace phalanx::data
