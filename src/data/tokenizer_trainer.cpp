#include "data/tokenizer_trainer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/bpe_trainer.h"
#include "data/byte_ranks.h"
#include "data/byte_tokens.h"
#include "data/corpus.h"
#include "data/normalizer.h"
#include "data/pre_tokenizer.h"
#include "data/sentencepiece_bpe.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_pipeline.h"

namespace phalanx::data {

namespace {

using nlohmann::ordered_json;

constexpr size_t kBatchBytes = size_t{1} << 20;  // that a thread takes at once

/// How a trained tokenizer prepares and splits text, as parts of tokenizer.json.
struct TextParts {
  std::string normalizer = {}, pre_tokenizer, decoder;
  bool on_bytes = true;
};

std::string byte_level(bool use_regex) {
  return ordered_json({{"type", "ByteLevel"},
                       {"add_prefix_space", false},
                       {"trim_offsets", true},
                       {"use_regex", use_regex}})
      .dump();
}

TextParts gpt2_parts() {
  return {.pre_tokenizer = byte_level(true), .decoder = byte_level(true)};
}

TextParts smollm_parts() {
  const std::string digits = R"({"type":"Digits","individual_digits":true})";
  return {.pre_tokenizer = R"({"type":"Sequence","pretokenizers":[)" + digits + "," + byte_level(true) + "]}",
          .decoder = byte_level(true)};
}

TextParts pattern_parts(std::string_view pattern) {
  return {.pre_tokenizer = byte_level_split(pattern), .decoder = byte_level(false)};
}

TextParts sentencepiece_parts() {
  return {.normalizer = sentencepiece_escape(/*adds_prefix=*/true),
          .pre_tokenizer = R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":true})",
          .decoder = sentencepiece_decoder(/*strips=*/true),
          .on_bytes = false};
}

struct NamedParts {
  std::string_view name;
  TextParts (*make)();
};

constexpr NamedParts kNamedParts[] = {
    {"gpt2", gpt2_parts},
    {"smollm", smollm_parts},
    {"cl100k", [] { return pattern_parts(pattern_text(KnownPattern::kLlama3)); }},
    {"llama3", [] { return pattern_parts(pattern_text(KnownPattern::kLlama3)); }},
    {"qwen2", [] { return pattern_parts(pattern_text(KnownPattern::kQwen2)); }},
    {"o200k", [] { return pattern_parts(pattern_text(KnownPattern::kO200k)); }},
    {"sentencepiece", sentencepiece_parts},
};

template <typename... Args>
[[noreturn]] void bad_setting(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadConfig, format, std::forward<Args>(args)...);
}

TextParts named_parts(const std::string& name) {
  for (const NamedParts& parts : kNamedParts)
    if (parts.name == name) return parts.make();
  bad_setting("--pre-tokenizer is {}; known are {}, or give a pattern with --split-pattern",
              core::printable(name, 40), fmt::join(pre_tokenizer_names(), ", "));
}

/// `first`, then `second`; either may be empty.
std::string normalizer_sequence(const std::string& first, const std::string& second) {
  if (first.empty() || second.empty()) return first + second;
  ordered_json all = ordered_json::array();
  for (const std::string& text : {first, second}) {
    const ordered_json part = ordered_json::parse(text);
    if (part.at("type") == "Sequence")
      all.insert(all.end(), part.at("normalizers").begin(), part.at("normalizers").end());
    else
      all.push_back(part);
  }
  return ordered_json({{"type", "Sequence"}, {"normalizers", all}}).dump();
}

TextParts text_parts(const TokenizerTraining& training) {
  TextParts parts = training.split_pattern.empty() ? named_parts(training.pre_tokenizer)
                                                   : pattern_parts(training.split_pattern);
  if (!training.normalizer.empty()) {
    constexpr std::string_view kForms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    if (std::find(std::begin(kForms), std::end(kForms), training.normalizer) == std::end(kForms)) {
      bad_setting("--normalizer is {}; known are {}", core::printable(training.normalizer, 40),
                  fmt::join(kForms, ", "));
    }
    parts.normalizer =
        normalizer_sequence(ordered_json({{"type", training.normalizer}}).dump(), parts.normalizer);
  }
  return parts;
}

/// The corpus as words.
class WordCounter {
 public:
  WordCounter(const TokenizerTraining& training, const TextParts& parts)
      : training_(training),
        normalizers_(make_normalizers(parts.normalizer, "--normalizer")),
        pre_tokenizer_(parts.pre_tokenizer, "--split-pattern") {
    if (pre_tokenizer_.ends_in_bytes()) pre_tokenizer_.leave_bytes();
  }

  WordCounts count(TrainedTokenizer& report) {
    const int num_threads = std::max(1, training_.num_threads);
    std::vector<Share> shares(static_cast<size_t>(num_threads));
    {
      std::vector<std::jthread> threads;
      for (size_t i = 1; i < shares.size(); ++i)
        threads.emplace_back([this, &shares, i] { work(shares[i]); });
      work(shares[0]);
    }
    if (failure_) std::rethrow_exception(failure_);
    for (size_t i = 0; i < shares.size(); ++i) {
      report.num_texts += shares[i].num_texts;
      report.num_bytes += shares[i].num_bytes;
      if (i > 0) shares[0].words.add(shares[i].words);
      if (i > 0) shares[i].words = {};
    }
    return std::move(shares[0].words);
  }

 private:
  struct Share {
    WordCounts words = {};
    int64_t num_texts = 0, num_bytes = 0;
    EditPath path = {};
    PreTokenized pieces = {};
  };

  void work(Share& share) {
    try {
      std::vector<RawRecord> batch;
      while (const std::shared_ptr<const Corpus> corpus = take(batch)) {
        for (const RawRecord& part : batch)
          corpus->for_each_text(part, [&](std::string_view text) { count_text(text, share); });
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  /// Fills `batch` with the next parts of one file; null at the end of all.
  std::shared_ptr<const Corpus> take(std::vector<RawRecord>& batch) {
    const std::lock_guard lock(mutex_);
    batch.clear();
    while (!failure_) {
      if (!corpus_) {
        if (next_file_ == training_.files.size()) return nullptr;
        corpus_ = Corpus::open(training_.files[next_file_++]);
      }
      size_t bytes = 0;
      for (RawRecord part; bytes < kBatchBytes && corpus_->next(part);) {
        bytes += part.text.size();
        batch.push_back(std::move(part));
      }
      if (!batch.empty()) return corpus_;
      corpus_ = nullptr;
    }
    return nullptr;
  }

  void count_text(std::string_view text, Share& share) {
    ++share.num_texts;
    share.num_bytes += static_cast<int64_t>(text.size());
    std::optional<EditedText> edited;
    for (const auto& normalizer : normalizers_) {
      auto next = normalizer->apply(text);
      if (!next) continue;
      edited = std::move(next);
      text = edited->text();
    }
    share.path.start(0);
    pre_tokenizer_.run(text, share.path, share.pieces);
    for (const Piece& piece : share.pieces.pieces)
      share.words.add(share.pieces.text.substr(piece.begin, piece.end - piece.begin));
  }

  const TokenizerTraining& training_;
  Normalizers normalizers_;
  PreTokenizer pre_tokenizer_;
  std::mutex mutex_;
  std::shared_ptr<Corpus> corpus_;
  size_t next_file_ = 0;
  std::exception_ptr failure_;
};

/// The special tokens in their order; bos, eos, pad and unk that are not named among them come behind.
std::vector<std::string> all_special_tokens(const TokenizerTraining& training) {
  std::vector<std::string> all;
  const auto add = [&](const std::string& token, bool may_repeat) {
    const bool is_new = std::find(all.begin(), all.end(), token) == all.end();
    if (!is_new && !may_repeat) bad_setting("--special-token {} is given twice", core::printable(token, 40));
    if (is_new) all.push_back(token);
  };
  for (const std::string& token : training.special_tokens) {
    if (token.empty()) bad_setting("--special-token is empty; give its text");
    add(token, /*may_repeat=*/false);
  }
  for (const std::string* token : {&training.bos, &training.eos, &training.pad, &training.unk})
    if (!token->empty()) add(*token, /*may_repeat=*/true);
  return all;
}

TokenizerSpec trained_spec(const TokenizerTraining& training, const TextParts& parts, TrainedBpe trained,
                           const std::vector<std::string>& special_tokens) {
  TokenizerSpec spec;
  spec.source = "the trained tokenizer";
  spec.tokens = std::move(trained.tokens);
  spec.num_model_tokens = static_cast<int64_t>(spec.tokens.size());
  const auto id_of = [&](const std::string& token) -> std::optional<TokenId> {
    const auto found = std::find(special_tokens.begin(), special_tokens.end(), token);
    if (found == special_tokens.end()) return std::nullopt;
    return static_cast<TokenId>(found - special_tokens.begin());
  };
  auto& model = spec.model.emplace<BpeModel>();
  model.merges = std::move(trained.merges);
  model.byte_fallback = !parts.on_bytes;
  model.unk = id_of(training.unk);
  model.fuse_unk = !parts.on_bytes && model.unk;
  for (const std::string& token : special_tokens)
    spec.added_tokens.push_back({.id = *id_of(token), .content = token, .special = true});
  spec.special_tokens = {.bos = id_of(training.bos),
                         .eos = id_of(training.eos),
                         .pad = id_of(training.pad),
                         .unk = id_of(training.unk)};
  spec.normalizer = parts.normalizer;
  spec.pre_tokenizer = parts.pre_tokenizer;
  spec.decoder = parts.decoder;
  return spec;
}

}  // namespace

std::vector<std::string> pre_tokenizer_names() {
  std::vector<std::string> names;
  for (const NamedParts& parts : kNamedParts) names.emplace_back(parts.name);
  return names;
}

TrainedTokenizer train_tokenizer(const TokenizerTraining& training) {
  const TextParts parts = text_parts(training);
  if (training.limit_alphabet > 0 && parts.on_bytes)
    bad_setting("--limit-alphabet is for --pre-tokenizer sentencepiece; here the alphabet is the 256 bytes");
  const std::vector<std::string> special_tokens = all_special_tokens(training);
  TrainedTokenizer report;
  const WordCounts words = WordCounter(training, parts).count(report);
  if (words.size() == 0)
    core::fail(core::ExitCode::kBadInput, "{}: no text in {}", training.files.front(),
               training.files.size() == 1 ? "it" : "it and the other files");
  BpeTrainerOptions options{.vocab_size = training.vocab_size,
                            .min_frequency = training.min_frequency,
                            .limit_alphabet = training.limit_alphabet,
                            .on_bytes = parts.on_bytes,
                            .first_tokens = special_tokens};
  if (!parts.on_bytes) {
    for (int byte = 0; byte < 256; ++byte)
      options.first_tokens.push_back(byte_token(static_cast<uint8_t>(byte)));
  }
  TrainedBpe trained = train_bpe(words, options);
  report.num_words = words.total();
  report.num_different_words = static_cast<int64_t>(words.size());
  report.num_special_tokens = static_cast<int64_t>(special_tokens.size());
  report.alphabet_size = trained.alphabet_size;
  report.num_merges = static_cast<int64_t>(trained.merges.size());
  report.last_count = trained.last_count;
  report.tokenizer =
      std::make_unique<PipelineTokenizer>(trained_spec(training, parts, std::move(trained), special_tokens));
  return report;
}

}  // namespace phalanx::data
