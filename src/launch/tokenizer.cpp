#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "data/tokenizer_trainer.h"
#include "generate/unverified.h"
#include "generate/verify_export.h"
#include "launch/command.h"

namespace phalanx::launch {
namespace {

struct TokenizerTrainArguments {
  data::TokenizerTraining training;
  std::string output;
};

/// The written folder, read back, must give the ids of the tokenizer in memory.
void verify_tokenizer(const data::Tokenizer& made, const std::string& folder,
                      const std::string& destination) {
  const auto read = data::load_hf_tokenizer(folder);
  bool is_equal = read->vocab_size() == made.vocab_size();
  for (const std::string& text : generate::verification_texts())
    is_equal = is_equal && read->encode(text) == made.encode(text);
  for (data::TokenId id = 0; is_equal && id < made.vocab_size(); ++id)
    is_equal = read->token_bytes(id) == made.token_bytes(id) && read->is_special(id) == made.is_special(id);
  if (!is_equal) {
    core::fail(core::ExitCode::kBug, "{}: read back, it is not the tokenizer that was trained; it is removed",
               destination);
  }
}

int train_tokenizer_command(const TokenizerTrainArguments& arguments) {
  const data::TokenizerTraining& training = arguments.training;
  generate::refuse_existing(arguments.output);
  const data::TrainedTokenizer trained = data::train_tokenizer(training);
  generate::Unverified made(arguments.output);
  trained.tokenizer->save_hf(made.path());
  verify_tokenizer(*trained.tokenizer, made.path(), arguments.output);
  made.publish({{"vocab_size", trained.tokenizer->vocab_size()}, {"read_back_equal", true}});
  std::cout
      << fmt::format("corpus: {} texts, {} bytes, {} words of which {} are different\n", trained.num_texts,
                     trained.num_bytes, trained.num_words, trained.num_different_words)
      << fmt::format(
             "{}: {} tokens: {} special, {} of the alphabet, {} merges; the last pair occurs {} times\n",
             arguments.output, trained.tokenizer->vocab_size(), trained.num_special_tokens,
             trained.alphabet_size, trained.num_merges, trained.last_count);
  if (trained.tokenizer->vocab_size() < training.vocab_size) {
    core::log_warning(
        "{} tokens instead of --vocab-size {}: no further pair occurs --min-frequency {} times; give more "
        "text "
        "or a lower one",
        trained.tokenizer->vocab_size(), training.vocab_size, training.min_frequency);
  }
  return 0;
}

void declare_train(CLI::App& app, TokenizerTrainArguments& arguments) {
  data::TokenizerTraining& training = arguments.training;
  training.num_threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  app.add_option("files", training.files,
                 "Text (.txt, line by line) or records (.jsonl, .json, .csv, .tsv); .gz, .zst")
      ->required();
  app.add_option("--output,-o", arguments.output, "Folder to write; must not exist")->required();
  app.add_option("--vocab-size", training.vocab_size, "Tokens in all: special, alphabet and merges")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  app.add_option("--min-frequency", training.min_frequency, "A pair that occurs less often does not merge")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--pre-tokenizer", training.pre_tokenizer,
                 fmt::format("How words are split: {}", fmt::join(data::pre_tokenizer_names(), ", ")))
      ->capture_default_str();
  app.add_option(
         "--split-pattern", training.split_pattern,
         "Instead of --pre-tokenizer: a regular expression that matches the words of a byte-level BPE")
      ->excludes("--pre-tokenizer");
  app.add_option("--normalizer", training.normalizer, "NFC, NFD, NFKC or NFKD, before words are split");
  app.add_option("--limit-alphabet", training.limit_alphabet,
                 "sentencepiece: only the so many most frequent characters; others become bytes")
      ->check(CLI::PositiveNumber);
  app.add_option("--special-token", training.special_tokens,
                 "A control token; may be repeated: ids from 0 on")
      ->allow_extra_args(false);
  app.add_option("--bos-token", training.bos, "Special token that begins a text");
  app.add_option("--eos-token", training.eos, "Special token that ends a text");
  app.add_option("--pad-token", training.pad, "Special token that fills a batch");
  app.add_option("--unk-token", training.unk, "Special token for what has no token");
  app.add_option("--threads", training.num_threads, "Threads that count words")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
}

const bool tokenizer_registered = register_command(
    {"tokenizer", "Trains a tokenizer on a corpus", [](CLI::App& app) {
       auto arguments = std::make_shared<TokenizerTrainArguments>();
       app.require_subcommand(1);
       declare_train(
           *app.add_subcommand("train", "Byte-pair encoding, as tokenizer.json and tokenizer_config.json"),
           *arguments);
       return [arguments] { return train_tokenizer_command(*arguments); };
     }});

}  // namespace
}  // namespace phalanx::launch
