#include "reward/form_terms.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "reward/judgement.h"
#include "reward/pattern.h"

namespace phalanx::reward {
namespace {

double length_score(int64_t n, int64_t min_tokens, std::optional<int64_t> max_tokens) {
  if (n < min_tokens) return -static_cast<double>(min_tokens - n) / static_cast<double>(min_tokens);
  if (max_tokens && n > *max_tokens)
    return std::max(-1.0, -static_cast<double>(n - *max_tokens) / static_cast<double>(*max_tokens));
  return 0.0;
}

double overlong_score(int64_t n, int64_t limit, int64_t cache) {
  if (n > limit) return -1.0;
  return std::min(0.0, static_cast<double>(limit - cache - n) / static_cast<double>(cache));
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool is_inside = false;
  for (const char c : text) {
    const bool is_space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!is_space && !is_inside) words.emplace_back();
    if (!is_space) words.back() += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    is_inside = !is_space;
  }
  return words;
}

double repetition_score(std::string_view text, size_t n) {
  const std::vector<std::string> words = words_of(text);
  if (words.size() < n) return 0.0;
  std::unordered_set<std::string> distinct;
  const size_t count = words.size() - n + 1;
  for (size_t i = 0; i < count; ++i) {
    std::string ngram;
    for (size_t k = 0; k < n; ++k) ngram += words[i + k] + ' ';
    distinct.insert(std::move(ngram));
  }
  return static_cast<double>(distinct.size()) / static_cast<double>(count) - 1.0;
}

}  // namespace

std::unique_ptr<Reward> format_match(const TermOptions& options) {
  const auto pattern = std::make_shared<Pattern>(options.pattern, 0, "reward.terms: format_match: pattern");
  return std::make_unique<EachSample>([pattern](const Sample& sample) -> Judgement {
    const Pattern::Outcome outcome = pattern->match_whole(sample.completion);
    if (outcome == Pattern::Outcome::kTooCostly) return too_costly(sample.completion);
    return {outcome == Pattern::Outcome::kYes ? 1.0 : 0.0, {}};
  });
}

std::unique_ptr<Reward> length(const TermOptions& options) {
  const int64_t least = options.min_tokens;
  const auto most = options.max_tokens;
  if (least == 0 && !most)
    core::fail(core::ExitCode::kBadConfig, "reward.terms: length needs min_tokens, max_tokens or both");
  if (most && *most < least) {
    core::fail(core::ExitCode::kBadConfig,
               "reward.terms: length: max_tokens is {} but must be at least min_tokens = {}", *most, least);
  }
  return std::make_unique<EachSample>([least, most](const Sample& sample) {
    return Judgement{length_score(sample.num_tokens, least, most), {}};
  });
}

std::unique_ptr<Reward> overlong(const TermOptions& options) {
  if (!options.cache_tokens)
    core::fail(core::ExitCode::kBadConfig,
               "reward.terms: overlong needs cache_tokens: over how many last tokens the punishment grows");
  const int64_t cache = *options.cache_tokens;
  const auto limit = options.max_tokens;
  if (limit && cache > *limit) {
    core::fail(core::ExitCode::kBadConfig,
               "reward.terms: overlong: cache_tokens is {} but must be at most max_tokens = {}", cache,
               *limit);
  }
  return std::make_unique<EachSample>([cache, limit](const Sample& sample) {
    return Judgement{overlong_score(sample.num_tokens, limit.value_or(sample.max_tokens), cache), {}};
  });
}

std::unique_ptr<Reward> repetition(const TermOptions& options) {
  return std::make_unique<EachSample>([n = static_cast<size_t>(options.ngram_size)](const Sample& sample) {
    return Judgement{repetition_score(sample.completion, n), {}};
  });
}

}  // namespace phalanx::reward
