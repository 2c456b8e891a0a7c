#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer_spec.h"
#include "data/word_counts.h"

namespace phalanx::data {

struct BpeTrainerOptions {
  int64_t vocab_size = 32000;             ///< tokens: first_tokens, alphabet and merges together
  int64_t min_frequency = 2;              ///< a pair that occurs less often does not merge
  int64_t limit_alphabet = 0;             ///< the so many most frequent characters; 0: all
  bool on_bytes = true;                   ///< the alphabet is the 256 bytes; else the characters that occur
  std::vector<std::string> first_tokens;  ///< ids from 0 on, in this order: no text leads to them
};

struct TrainedBpe {
  std::vector<std::string>
      tokens;                 ///< id -> text as tokenizer.json has it (bytes in the byte-level alphabet)
  std::vector<Merge> merges;  ///< in the order of their ranks
  int64_t alphabet_size = 0;
  int64_t last_count = 0;  ///< how often the pair of the last merge occurred
};

/// Byte-pair encoding learned from words and their counts (Sennrich et al. 2016, arXiv:1508.07909): again and
/// again the most frequent pair of neighbours becomes a token; of equally frequent ones that with the
/// smallest (left id, right id). The alphabet has its ids in the order of code points. Tokens and merges are
/// those that the reference library's BpeTrainer gives for the same words (its pair counts are 32 bits, ours
/// are 64). Time O(characters of the different words x log), memory O(the same).
/// @throws core::Error (78) when vocab_size has no room for first tokens and alphabet.
TrainedBpe train_bpe(const WordCounts& words, const BpeTrainerOptions& options);

}  // namespace phalanx::data
