#include "trainer/online/generation_batches.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "trainer/online/advantages.h"

namespace phalanx::trainer {
namespace {

constexpr const char* kPlace = "place";  // of a row's token among all tokens of a generation

struct Entry {
  const RolloutGroup* group;
  const Rollout* rollout;
};

std::vector<Entry> entries_of(const Generation& generation) {
  std::vector<Entry> entries;
  for (const RolloutGroup& group : generation) {
    for (const Rollout& rollout : group.rollouts) entries.push_back({&group, &rollout});
  }
  return entries;
}

/// The last token of an answer predicts nothing and has no row.
data::Sequence sequence_of(const Entry& entry, bool counts) {
  const std::vector<int32_t>& prompt = entry.group->prompt_ids;
  const std::vector<int32_t>& answer = entry.rollout->ids;
  data::Sequence sequence;
  sequence.input_ids = prompt;
  sequence.input_ids.insert(sequence.input_ids.end(), answer.begin(), answer.end() - 1);
  const size_t length = sequence.input_ids.size(), first = prompt.size() - 1;
  sequence.labels.assign(length, static_cast<int32_t>(data::kIgnoredLabel));
  if (counts)
    std::copy(answer.begin(), answer.end(), sequence.labels.begin() + static_cast<std::ptrdiff_t>(first));
  for (size_t t = 0; t < length; ++t) sequence.position_ids.push_back(static_cast<int32_t>(t));
  sequence.lengths = {static_cast<int32_t>(length)};
  sequence.record_ids = {entry.group->record_id};
  return sequence;
}

void add_row_values(data::Sequence& sequence, const char* name, const std::vector<double>& of_tokens) {
  std::vector<double> rows(sequence.input_ids.size() - of_tokens.size(), 0.0);
  rows.insert(rows.end(), of_tokens.begin(), of_tokens.end());
  sequence.row_values[name] = std::move(rows);
}

/// Of answers; 0 where there is none, as TRL has it.
struct Lengths {
  double total = 0, count = 0, shortest = 0, longest = 0;
  void add(double length) {
    shortest = count == 0 ? length : std::min(shortest, length);
    longest = std::max(longest, length);
    total += length;
    ++count;
  }
  double mean() const { return count == 0 ? 0 : total / count; }
};

struct Share {
  int64_t begin, end;
};

Share share_of_rank(int64_t first, int64_t count, const LoaderOptions& sizes) {
  const int64_t per_rank = count / sizes.dp_size, begin = first + sizes.dp_rank * per_rank;
  return {begin, begin + per_rank};
}

template <class MakeSequence>
std::vector<data::Batch> join_share(const Share& share, const LoaderOptions& sizes,
                                    const MakeSequence& make) {
  std::vector<data::Batch> batches;
  for (int64_t begin = share.begin; begin < share.end; begin += sizes.sequences_per_micro_batch) {
    std::vector<data::Sequence> sequences;
    for (int64_t i = begin; i < std::min(share.end, begin + sizes.sequences_per_micro_batch); ++i)
      sequences.push_back(make(static_cast<size_t>(i)));
    batches.push_back(data::join(sequences));
  }
  return batches;
}

}  // namespace

std::vector<data::Batch> batches_of_rank(const Generation& generation, const TokenAdvantages& advantages,
                                         int64_t first, const LoaderOptions& sizes, bool masks_truncated) {
  const std::vector<Entry> entries = entries_of(generation);
  return join_share(share_of_rank(first, sizes.global_batch_size, sizes), sizes, [&](size_t i) {
    const Rollout& rollout = *entries[i].rollout;
    const bool is_masked = masks_truncated && rollout.finish_reason == "length";
    data::Sequence sequence = sequence_of(entries[i], !is_masked);
    add_row_values(sequence, kAdvantages, advantages[i]);
    if (!rollout.old_logprobs.empty()) add_row_values(sequence, kOldLogprobs, rollout.old_logprobs);
    if (!rollout.sampling_logprobs.empty())
      add_row_values(sequence, kSamplingLogprobs, rollout.sampling_logprobs);
    return sequence;
  });
}

void fill_logprobs(Generation& generation, std::vector<double> Rollout::*member,
                   parallel::DistributedModel& model, const LoaderOptions& sizes,
                   const std::function<at::Tensor(const data::Batch& local)>& logprobs) {
  const std::vector<Entry> entries = entries_of(generation);
  std::vector<double> begin = {0};  // of each rollout among all tokens
  for (const Entry& entry : entries)
    begin.push_back(begin.back() + static_cast<double>(entry.rollout->ids.size()));
  const Share share = share_of_rank(0, static_cast<int64_t>(entries.size()), sizes);
  const std::vector<data::Batch> batches = join_share(share, sizes, [&](size_t i) {
    data::Sequence sequence = sequence_of(entries[i], true);
    std::vector<double> places;
    for (double place = begin[i]; place < begin[i + 1]; ++place) places.push_back(place);
    add_row_values(sequence, kPlace, places);
    return sequence;
  });
  at::Tensor all = at::zeros({static_cast<int64_t>(begin.back())}, at::kDouble);
  double* values = all.mutable_data_ptr<double>();
  for (const data::Batch& batch : batches) {
    const data::Batch local = model.local(batch);
    const at::Tensor rows = logprobs(local);
    if (!rows.defined()) continue;
    const at::Tensor host = rows.to(at::kDouble).cpu().contiguous();
    for (size_t row = 0; row < local.labels.size(); ++row) {
      if (local.labels[row] != data::kIgnoredLabel)
        values[static_cast<int64_t>(local.row_values.at(kPlace)[row])] = host.const_data_ptr<double>()[row];
    }
  }
  const parallel::Mesh& mesh = model.mesh();
  all = all.to(mesh.world().device());
  mesh.batch().all_reduce(all);  // each entry has one term that is not zero
  mesh.pp().all_reduce(all);
  all = all.cpu();
  size_t next = 0;
  for (RolloutGroup& group : generation) {
    for (Rollout& rollout : group.rollouts) {
      const double* first = all.const_data_ptr<double>() + static_cast<int64_t>(begin[next++]);
      (rollout.*member).assign(first, first + rollout.ids.size());
    }
  }
}

std::vector<Metric> generation_metrics(const Generation& generation) {
  Rewards rewards;
  std::map<std::string, Rewards> terms;
  Lengths all, terminated;
  double truncated = 0;
  for (const Entry& entry : entries_of(generation)) {
    rewards.push_back(entry.rollout->reward);
    for (const auto& [name, value] : entry.rollout->terms) terms[name].push_back(value);
    const auto length = static_cast<double>(entry.rollout->ids.size());
    const bool is_truncated = entry.rollout->finish_reason == "length";
    all.add(length);
    if (!is_truncated) terminated.add(length);
    truncated += is_truncated;
  }
  const auto count = static_cast<double>(rewards.size());
  std::vector<Metric> metrics = {
      {"reward", mean_of(rewards)},
      {"reward_std", std_of(rewards)},
      {"frac_reward_zero_std", share_without_spread(rewards, generation.front().rollouts.size())},
      {"completions/mean_length", all.mean()},
      {"completions/min_length", all.shortest},
      {"completions/max_length", all.longest},
      {"completions/mean_terminated_length", terminated.mean()},
      {"completions/min_terminated_length", terminated.shortest},
      {"completions/max_terminated_length", terminated.longest},
      {"completions/clipped_ratio", truncated / count}};
  for (const auto& [name, values] : terms) {
    metrics.push_back({"rewards/" + name + "/mean", mean_of(values)});
    metrics.push_back({"rewards/" + name + "/std", std_of(values)});
  }
  return metrics;
}

}  // namespace phalanx::trainer
