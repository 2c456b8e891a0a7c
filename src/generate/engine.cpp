#include "generate/engine.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/error.h"
#include "ops/label_logprob.h"

namespace phalanx::generate {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t num_completions(const std::vector<Request>& requests) {
  int64_t sum = 0;
  for (const Request& request : requests) sum += request.num_samples;
  return sum;
}

/// Sequences that can be at work at a time.
int64_t num_places(const std::vector<Request>& requests, const RolloutOptions& options) {
  return std::min(options.max_batch_size, num_completions(requests));
}

int64_t num_pages(const TokenModel& model, const RolloutOptions& options) {
  return (options.kv_cache_mb << 20) /
         std::max<int64_t>(1, model.kv_token_bytes() * model::KvCache::kPageTokens);
}

RequestSize size_of(const Request& request, const GenerateOptions& options,
                    const model::TransformerConfig& config) {
  const auto tokens = static_cast<int64_t>(request.prompt->size());
  return {tokens, std::min(tokens + options.max_new_tokens, config.max_position_embeddings),
          request.num_samples};
}

}  // namespace

Engine::Engine(TokenModel& model, const std::vector<Request>& requests, const GenerateOptions& options,
               const TokenCallback& callback)
    : model_(model),
      requests_(requests),
      options_(options),
      callback_(callback),
      sampling_(options.sampling),
      completions_(static_cast<size_t>(num_completions(requests))),
      admission_(num_places(requests, options.rollout), num_pages(model, options.rollout),
                 model::KvCache::kPageTokens),
      // A sequence at work has an entry, and its request one for the prompt while others wait.
      cache_(2 * num_places(requests, options.rollout), {.max_pages = num_pages(model, options.rollout)}) {
  sampling_.temperature /= options.logprob_temperature;
  int64_t first = 0;
  for (size_t r = 0; r < requests.size(); ++r) {
    const RequestSize size = size_of(requests[r], options, model.config());
    if (admission_.pages_alone(size) > cache_.pool().max_pages()) {
      core::fail(
          core::ExitCode::kBadConfig,
          "rollout.kv_cache_mb is {} but prompt {}, of {} tokens, needs {} MiB for itself and {} new tokens; "
          "raise it, or lower the number of new tokens",
          options.rollout.kv_cache_mb, r, size.prompt_tokens,
          ((admission_.pages_alone(size) * model::KvCache::kPageTokens * model.kv_token_bytes()) >> 20) + 1,
          size.last_tokens - size.prompt_tokens);
    }
    admission_.add(size);
    first_completion_.push_back(first);
    first += requests[r].num_samples;
  }
  for (int64_t e = cache_.num_entries() - 1; e >= 0; --e) free_entries_.push_back(e);
}

int64_t Engine::take_entry() {
  const int64_t entry = free_entries_.back();
  free_entries_.pop_back();
  return entry;
}

// Requests come in in their order, so an admitted sample belongs to the last prefix or to the next request.
void Engine::admit() {
  while (const std::optional<int64_t> request = admission_.next()) {
    if (prefixes_.empty() || prefixes_.back().request != *request)
      prefixes_.push_back({.request = *request, .entry = take_entry()});
    ++prefixes_.back().num_admitted;
  }
}

Engine::Sequence Engine::start(Prefix& prefix) {
  const Request& request = requests_[static_cast<size_t>(prefix.request)];
  const int64_t sample = prefix.num_started++;
  Sequence sequence{.request = prefix.request,
                    .completion = first_completion_[static_cast<size_t>(prefix.request)] + sample,
                    .entry = take_entry(),
                    .key = {options_.step, request.key, static_cast<uint64_t>(request.first_sample + sample)},
                    .history = *request.prompt,
                    .stop_strings = std::nullopt,
                    .first_token = {}};
  if (!options_.stop_strings.empty())
    sequence.stop_strings.emplace(options_.stop_strings, *options_.tokenizer);
  cache_.share(prefix.entry, sequence.entry);
  return sequence;
}

// Until nobody else may come in: a sample may end with its first token and make room for the next one. Behind
// it, there is work for a forward, or none at all.
void Engine::let_in() {
  do admit();
  while (start_samples());
}

// Gives the admitted samples of the prompts that are in the cache their first tokens.
bool Engine::start_samples() {
  std::vector<Draw> draws;
  for (Prefix& prefix : prefixes_) {
    while (!prefix.logits.empty() && prefix.num_started < prefix.num_admitted) {
      sequences_.push_back(start(prefix));
      draws.push_back({&sequences_.back(), prefix.logits.data()});
    }
  }
  draw(draws);
  std::erase_if(prefixes_, [&](const Prefix& prefix) {
    const bool is_done = prefix.num_started == requests_[static_cast<size_t>(prefix.request)].num_samples;
    if (is_done) {
      cache_.clear(prefix.entry);
      free_entries_.push_back(prefix.entry);
    }
    return is_done;
  });
  for (const Draw& each : draws) take(each);
  std::erase_if(sequences_, [](const Sequence& sequence) { return sequence.entry < 0; });
  return !draws.empty();
}

// One token of every sequence at work, and as much of the waiting prompts as may join them.
void Engine::forward() {
  const auto entries = static_cast<size_t>(cache_.num_entries());
  Work work{std::vector<Prefix*>(entries), std::vector<Sequence*>(entries)};
  std::vector<int64_t> num_new(entries, 0);
  for (Sequence& sequence : sequences_) {
    work.sequences[static_cast<size_t>(sequence.entry)] = &sequence;
    num_new[static_cast<size_t>(sequence.entry)] = 1;
  }
  int64_t budget = options_.rollout.prefill_tokens;
  for (Prefix& prefix : prefixes_) {
    const int64_t left = static_cast<int64_t>(prompt(prefix.request).size()) - prefix.num_cached;
    work.prefixes[static_cast<size_t>(prefix.entry)] = &prefix;
    budget -= num_new[static_cast<size_t>(prefix.entry)] = std::min(left, budget);
  }
  std::vector<int64_t> ids, positions, rows;
  std::vector<Draw> draws;
  std::vector<Prefix*> ready;  // behind the draws
  model::ModelInput input{.input_ids = {}, .position_ids = {}, .cu_seqlens = {0}};
  std::vector<int64_t> ready_rows;
  for (size_t e = 0; e < entries; ++e) {
    Sequence* sequence = work.sequences[e];
    Prefix* prefix = work.prefixes[e];
    const int64_t past = cache_.length(static_cast<int64_t>(e));
    for (int64_t i = 0; i < num_new[e]; ++i) {
      ids.push_back(sequence ? sequence->history.back()
                             : prompt(prefix->request)[static_cast<size_t>(past + i)]);
      positions.push_back(past + i);
    }
    input.cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
    if (num_new[e] == 0) continue;
    const auto last_row = static_cast<int64_t>(ids.size()) - 1;
    if (sequence) {
      draws.push_back({sequence, nullptr});
      rows.push_back(last_row);
      continue;
    }
    prefix->num_cached += num_new[e];
    if (prefix->num_cached < static_cast<int64_t>(prompt(prefix->request).size())) continue;
    ready.push_back(prefix);
    ready_rows.push_back(last_row);
  }
  rows.insert(rows.end(), ready_rows.begin(), ready_rows.end());
  if (rows.empty()) rows.push_back(0);  // a chunk of a prompt; nobody looks
  input.input_ids = at::tensor(ids, at::kLong).to(model_.device());
  input.position_ids = at::tensor(positions, at::kLong).to(model_.device());
  const at::Tensor logits = model_.next_logits(input, rows, cache_, options_.logprob_temperature);
  ++num_forwards_;
  const auto row = [&](size_t i) {
    return logits.const_data_ptr<float>() + static_cast<int64_t>(i) * logits.size(1);
  };
  for (size_t i = 0; i < draws.size(); ++i) draws[i].logits = row(i);
  for (size_t i = 0; i < ready.size(); ++i)
    ready[i]->logits.assign(row(draws.size() + i), row(draws.size() + i + 1));
  draw(draws);
  for (const Draw& each : draws) take(each);
  std::erase_if(sequences_, [](const Sequence& sequence) { return sequence.entry < 0; });
}

// A forward whose result nobody needs.
void Engine::keep_company() {
  const at::Tensor zero = at::zeros({1}, at::TensorOptions().dtype(at::kLong).device(model_.device()));
  model::KvCache cache(1);
  model_.next_logits({.input_ids = zero, .position_ids = zero, .cu_seqlens = {0, 1}}, {0}, cache,
                     options_.logprob_temperature);
}

void Engine::draw(std::vector<Draw>& draws) const {
  const auto vocab = static_cast<size_t>(model_.config().vocab_size);
  at::parallel_for(0, static_cast<int64_t>(draws.size()), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> changed;
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      Draw& each = draws[i];
      changed.assign(each.logits, each.logits + vocab);
      each.id = sample_token(changed, each.sequence->history, sampling_, each.sequence->key);
      each.logprob = ops::label_logprob({each.logits, vocab}, each.id);
    }
  });
}

void Engine::take(const Draw& draw) {
  Sequence& sequence = *draw.sequence;
  Completion& completion = completions_[static_cast<size_t>(sequence.completion)];
  if (completion.ids.empty()) {
    sequence.first_token = Clock::now();
    ttft_sum_s_ += seconds_since(start_);
  }
  completion.ids.push_back(draw.id);
  completion.logprobs.push_back(draw.logprob);
  sequence.history.push_back(draw.id);
  if (const char* reason = reason_to_end(sequence, draw.id, draw.logprob)) end(sequence, reason);
}

const char* Engine::reason_to_end(Sequence& sequence, int32_t id, double logprob) {
  const bool is_wanted = !callback_ || callback_(sequence.completion, id, logprob);
  const bool is_stop_id =
      std::find(options_.stop_ids.begin(), options_.stop_ids.end(), id) != options_.stop_ids.end();
  const bool is_stop_string = sequence.stop_strings && sequence.stop_strings->push(id);
  if (!is_wanted || is_stop_id || is_stop_string) return "stop";
  const auto num_tokens = static_cast<int64_t>(sequence.history.size());
  const auto num_new = num_tokens - static_cast<int64_t>(prompt(sequence.request).size());
  const bool is_full =
      num_new >= options_.max_new_tokens || num_tokens >= model_.config().max_position_embeddings;
  return is_full ? "length" : nullptr;
}

void Engine::end(Sequence& sequence, const char* reason) {
  Completion& completion = completions_[static_cast<size_t>(sequence.completion)];
  completion.finish_reason = reason;
  tpot_sum_s_ += seconds_since(sequence.first_token);
  tpot_tokens_ += static_cast<int64_t>(completion.ids.size()) - 1;
  cache_.clear(sequence.entry);
  free_entries_.push_back(sequence.entry);
  admission_.release(sequence.request);
  sequence.entry = -1;
  ++num_ended_;
}

std::vector<Completion> Engine::run(GenerateStats& stats) {
  let_in();
  for (bool mine = has_work(); model_.goes_on(mine); mine = has_work()) {
    if (mine) {
      forward();
    } else {
      keep_company();
    }
    let_in();
  }
  stats.total_s = seconds_since(start_);
  stats.forwards = num_forwards_;
  for (const Request& request : requests_)
    stats.prompt_tokens += static_cast<int64_t>(request.prompt->size());
  for (const Completion& completion : completions_)
    stats.new_tokens += static_cast<int64_t>(completion.ids.size());
  const auto count = static_cast<double>(completions_.size());
  stats.ttft_s = completions_.empty() ? 0 : ttft_sum_s_ / count;
  stats.tpot_s = tpot_tokens_ > 0 ? tpot_sum_s_ / static_cast<double>(tpot_tokens_) : 0;
  return std::move(completions_);
}

}  // namespace phalanx::generate
