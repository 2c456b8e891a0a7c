#include "reward/judge.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/json.h"
#include "core/random.h"
#include "reward/judge_endpoints.h"
#include "reward/judgement.h"
#include "reward/parallel_runs.h"
#include "reward/pattern.h"
#include "reward/random_id.h"
#include "reward/utf8.h"
#include "reward/verifiers.h"

namespace phalanx::reward {
namespace {

constexpr size_t kMaxJudgeAnswerBytes = 4 << 20;
constexpr size_t kMaxKeyBytes = 4096;
constexpr const char* kAnyNumber = "(?<![\\d.])(-?\\d+(?:\\.\\d+)?)(?![\\d])";

Environment& judge_environment() {
  static Environment environment = [](const char*) { return std::nullopt; };
  return environment;
}

/// @throws core::Error (78), which never holds the key.
std::string read_key(const std::string& name) {
  if (name.empty()) return {};
  const auto key = judge_environment()(name.c_str());
  if (!key || key->empty()) {
    core::fail(
        core::ExitCode::kBadConfig,
        "reward.terms: judge: api_key_env: the environment variable {} is not set; export it, or leave "
        "api_key_env out for a judge without a key",
        core::printable(name));
  }
  const bool is_plain = std::all_of(key->begin(), key->end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!is_plain || key->size() > kMaxKeyBytes) {
    core::fail(core::ExitCode::kBadConfig,
               "reward.terms: judge: api_key_env: what {} holds is no key: it has blanks, line breaks or "
               "other signs "
               "that a header cannot hold, or more than {} bytes",
               core::printable(name), kMaxKeyBytes);
  }
  return *key;
}

/// The template with what it names in its places. What is put in is not looked at again.
std::string fill_in(std::string_view form, const Sample& sample) {
  std::string text;
  while (!form.empty()) {
    const size_t brace = std::min(form.find('{'), form.size());
    text += form.substr(0, brace);
    form.remove_prefix(brace);
    const auto put = [&](std::string_view name, const std::string& value) {
      if (!form.starts_with(name)) return false;
      text += value;
      form.remove_prefix(name.size());
      return true;
    };
    if (put("{prompt}", valid_utf8(sample.prompt)) || put("{completion}", valid_utf8(sample.completion)) ||
        put("{ground_truth}", ground_truth_text(*sample.record).value_or("")))
      continue;
    text += form.substr(0, 1);
    form.remove_prefix(std::min<size_t>(1, form.size()));
  }
  return text;
}

bool may_pass(int status) {
  return status == 408 || status == 429 || status >= 500;
}

/// Retry-After in seconds; a date, or anything else, is as good as absent.
std::optional<double> retry_after_s(const serve::ResponseHead& head) {
  const std::string_view text = head.header("retry-after");
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || seconds < 0)
    return std::nullopt;
  return static_cast<double>(seconds);
}

class Judge : public Reward {
 public:
  Judge(const TermOptions& options, const JudgePatience& patience)
      : options_(options),
        patience_(patience),
        key_(read_key(options.api_key_env)),
        pattern_(options.pattern.empty() ? kAnyNumber : options.pattern, 1, "reward.terms: judge: pattern"),
        endpoints_(urls_of(options), patience.rest_s) {
    exchange_.total_timeout_s = options.timeout_s;
    exchange_.connect_timeout_s = std::min(5.0, options.timeout_s);
    exchange_.limits.max_body_bytes = kMaxJudgeAnswerBytes;
    if (options.model.empty() || options.prompt.find("{completion}") == std::string::npos) {
      core::fail(core::ExitCode::kBadConfig,
                 "reward.terms: judge needs model, and prompt with {{completion}} where the answer goes");
    }
    if (options.range.size() != 2 || !(options.range[0] < options.range[1]))
      core::fail(core::ExitCode::kBadConfig,
                 "reward.terms: judge: range must be two numbers, the lower one first");
  }

  std::vector<Judgement> score(std::span<const Sample> samples, const core::StopRequest& stop) override {
    std::vector<Judgement> judgements(samples.size());
    exchange_.stop = stop;
    run_in_parallel(samples.size(), static_cast<size_t>(options_.num_parallel),
                    [&](size_t i) { judgements[i] = ask(samples[i]); });
    return judgements;
  }

 private:
  static std::vector<serve::Url> urls_of(const TermOptions& options) {
    if (options.urls.empty())
      core::fail(core::ExitCode::kBadConfig,
                 "reward.terms: judge needs urls, such as http://localhost:8000/v1/chat/completions");
    std::vector<serve::Url> urls;
    for (const std::string& url : options.urls) urls.push_back(serve::parse_url(url));
    return urls;
  }

  Judgement ask(const Sample& sample) {
    const core::Json question = {
        {"model", options_.model},
        {"messages", {{{"role", "user"}, {"content", fill_in(options_.prompt, sample)}}}},
        {"temperature", 0}};
    const std::string body = core::to_text(question), id = random_id();
    std::string problem;
    for (int64_t attempt = 0; attempt < options_.num_attempts; ++attempt) {
      const size_t endpoint = endpoints_.choose();
      std::optional<double> asked_wait_s;
      bool is_final = false;
      try {
        const serve::Answer answer = serve::post_json(endpoints_.url(endpoint), body, headers(id), exchange_);
        endpoints_.report(endpoint, !may_pass(answer.head.status));
        if (answer.head.status == 200) return read(answer.body);
        problem = fmt::format("it answered with status {}", answer.head.status);
        is_final = !may_pass(answer.head.status);
        asked_wait_s = retry_after_s(answer.head);
      } catch (const serve::ExchangeError& error) {
        endpoints_.report(endpoint, false);
        problem = error.what();
        is_final = !error.may_pass();
      }
      if (is_final || attempt + 1 == options_.num_attempts) {
        return {std::nullopt, fmt::format("the judge at {} cannot be used: {} ({} tries)",
                                          endpoints_.url(endpoint).authority(), problem, attempt + 1)};
      }
      pause(attempt, asked_wait_s, id);
    }
    return {std::nullopt, problem};
  }

  std::vector<std::pair<std::string, std::string>> headers(const std::string& id) const {
    std::vector<std::pair<std::string, std::string>> headers = {{"Idempotency-Key", id}};
    if (!key_.empty()) headers.emplace_back("Authorization", "Bearer " + key_);
    return headers;
  }

  /// Half of the time is by chance, so that many that failed together do not come back together.
  void pause(int64_t attempt, std::optional<double> asked_s, const std::string& id) const {
    const double step_s =
        patience_.first_wait_s * std::exp2(static_cast<double>(std::min<int64_t>(attempt, 30)));
    const double chance =
        static_cast<double>(
            core::random_bits(std::hash<std::string>()(id), 0, static_cast<uint64_t>(attempt)) >> 11) *
        0x1p-53;
    const double wait_s = std::max(step_s * (0.5 + 0.5 * chance), asked_s.value_or(0.0));
    using Seconds = std::chrono::duration<double>;
    const auto end = std::chrono::steady_clock::now() + Seconds(std::min(wait_s, patience_.max_wait_s));
    for (Seconds left = end - std::chrono::steady_clock::now(); left.count() > 0;
         left = end - std::chrono::steady_clock::now()) {
      if (core::is_requested(exchange_.stop)) throw core::Stopped();
      std::this_thread::sleep_for(std::min(left, Seconds(core::kStopPollSeconds)));
    }
  }

  Judgement read(const std::string& body) const {
    std::string content;
    try {
      const core::Json json = core::parse_json(body, "the judge's answer");
      const auto& choices = json.at("choices");
      if (!choices.is_array() || choices.size() != 1) return {std::nullopt, "the judge gave not one choice"};
      content = choices.at(0).at("message").at("content").get<std::string>();
    } catch (const core::Error& error) {
      return {std::nullopt, error.what()};
    } catch (const nlohmann::json::exception&) {
      return {std::nullopt,
              "the judge's answer has no choices[0].message.content: " + core::printable(body, 80)};
    }
    std::string_view group;
    const Pattern::Outcome found = pattern_.find_last(content, &group);
    if (found == Pattern::Outcome::kTooCostly) return too_costly(content);
    if (found == Pattern::Outcome::kNo)
      return {std::nullopt, "the judge named no score: " + core::printable(content, 80)};
    return read_number(group);
  }

  Judgement read_number(std::string_view text) const {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
      return {std::nullopt, "the judge's score is no number: " + core::printable(text, 40)};
    if (value < options_.range[0] || value > options_.range[1]) {
      return {std::nullopt, fmt::format("the judge's score is {}, outside of range [{}, {}]", value,
                                        options_.range[0], options_.range[1])};
    }
    return {value, {}};
  }

  TermOptions options_;
  JudgePatience patience_;
  std::string key_;
  Pattern pattern_;
  JudgeEndpoints endpoints_;
  serve::ExchangeOptions exchange_;
};

}  // namespace

void set_environment(Environment environment) {
  judge_environment() = std::move(environment);
}

std::unique_ptr<Reward> judge_with(const TermOptions& options, const JudgePatience& patience) {
  return std::make_unique<Judge>(options, patience);
}

std::unique_ptr<Reward> judge(const TermOptions& options) {
  return judge_with(options, {});
}

}  // namespace phalanx::reward
