#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace phalanx::data {

struct TokenizerTraining {
  std::vector<std::string> files;  ///< the corpus, see Corpus
  int64_t vocab_size = 32000;
  int64_t min_frequency = 2;
  int64_t limit_alphabet = 0;               ///< of "sentencepiece"; 0: all characters
  std::string pre_tokenizer = "gpt2";       ///< of pre_tokenizer_names()
  std::string split_pattern;                ///< instead of it: what byte-level words match
  std::string normalizer;                   ///< NFC, NFD, NFKC, NFKD or empty
  std::vector<std::string> special_tokens;  ///< ids from 0 on
  std::string bos, eos, pad, unk;           ///< of them; empty: none
  int num_threads = 1;                      ///< that count words
};

struct TrainedTokenizer {
  std::unique_ptr<const Tokenizer> tokenizer;
  int64_t num_texts = 0, num_bytes = 0;  ///< of the corpus
  int64_t num_words = 0, num_different_words = 0;
  int64_t num_special_tokens = 0, alphabet_size = 0, num_merges = 0;
  int64_t last_count = 0;  ///< occurrences of the pair merged last
};

/// "gpt2", "llama3", ...: byte-level BPE on words as that model splits them. "sentencepiece": BPE over
/// characters with byte fallback, the space written as U+2581 before each word.
std::vector<std::string> pre_tokenizer_names();

/// Learns a BPE tokenizer from a corpus, as bpe_trainer.h says. Memory is that of the different words.
/// @throws core::Error (78) for a setting that cannot be, (65) for a corpus that cannot be read or has no
/// text.
TrainedTokenizer train_tokenizer(const TokenizerTraining& training);

}  // namespace phalanx::data
