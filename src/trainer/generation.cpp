#include "trainer/generation.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

namespace phalanx::trainer {
namespace {

using generate::Completion;

int64_t ceil_div(int64_t n, int64_t by) {
  return (n + by - 1) / by;
}

/// One copy of the model, as each of its ranks sees it.
class SpreadTokenModel : public generate::TokenModel {
 public:
  SpreadTokenModel(parallel::DistributedModel& model, const core::StopRequest& stop)
      : model_(model), stop_(stop) {}
  const model::TransformerConfig& config() const override { return model_.model().config(); }
  at::Device device() const override { return model_.parameters().options().device; }

  int64_t kv_token_bytes() const override {  // of the rank that holds most
    model::TransformerConfig held = config();
    held.num_hidden_layers = ceil_div(held.num_hidden_layers, model_.mesh().shape().pp);
    held.num_key_value_heads = ceil_div(held.num_key_value_heads, model_.mesh().shape().tp);
    return generate::kv_token_bytes(
        held, static_cast<int64_t>(c10::elementSize(model_.parameters().compute_dtype())));
  }

  at::Tensor next_logits(const model::ModelInput& input, const std::vector<int64_t>& rows,
                         model::KvCache& cache, double temperature) override {
    const at::Tensor hidden = model_.schedule().forward(input, &cache).hidden;
    at::Tensor logits = model_.has_output()
                            ? generate::logits_of_rows(model_.model(), hidden, rows, temperature).contiguous()
                            : at::empty({static_cast<int64_t>(rows.size()), config().vocab_size},
                                        at::TensorOptions().dtype(at::kFloat).device(device()));
    comm::Communicator& pp = model_.mesh().pp();
    if (pp.size() > 1) pp.broadcast(logits, static_cast<int>(model_.output_stage_rank()));
    model_.drop_gathered();
    return logits.cpu();
  }

  bool goes_on(bool has_work) override {
    auto next = has_work ? Next::kWork : Next::kEnd;
    if (stop_) {
      if (stop_()) next = Next::kStop;
      next = agree(agree(next, model_.mesh().tp()), model_.mesh().pp());
    }
    if (model_.needs_company()) next = agree(next, model_.mesh().batch());
    is_stopped_ = next == Next::kStop;
    return next == Next::kWork;
  }
  /// The copies of the model have ended one by one. Collective over them.
  bool is_stopped_anywhere() const {
    return model_.mesh().batch().all_reduce_scalar(static_cast<int64_t>(is_stopped_), comm::ReduceOp::kMax) >
           0;
  }

 private:
  enum class Next : int64_t { kEnd, kWork, kStop };  // the greatest that a rank wants is done
  static Next agree(Next mine, comm::Communicator& group) {
    return static_cast<Next>(group.all_reduce_scalar(static_cast<int64_t>(mine), comm::ReduceOp::kMax));
  }

  parallel::DistributedModel& model_;
  const core::StopRequest& stop_;
  bool is_stopped_ = false;
};

std::string to_text(const std::vector<Completion>& completions) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Completion& c : completions) rows.push_back({c.ids, c.logprobs, c.finish_reason});
  return rows.dump();
}

void append(std::vector<Completion>& all, const std::string& text) {
  for (const nlohmann::json& row : nlohmann::json::parse(text))
    all.push_back({row[0].get<std::vector<int32_t>>(), row[1].get<std::vector<double>>(), row[2]});
}

}  // namespace

std::vector<Completion> generate(parallel::DistributedModel& model,
                                 const std::vector<std::vector<int32_t>>& prompts,
                                 const generate::GenerateOptions& options, generate::GenerateStats* stats,
                                 const generate::TokenCallback& callback) {
  SpreadTokenModel tokens(model, options.stop);
  generate::check_prompts(prompts, options, tokens.config());
  comm::Communicator& copies = model.mesh().batch();
  const int64_t samples = options.num_samples, count = static_cast<int64_t>(prompts.size()) * samples;
  const auto begin_of = [&](int64_t copy) { return (count * copy + copies.size() - 1) / copies.size(); };
  const int64_t first = begin_of(copies.rank()), end = begin_of(copies.rank() + 1);
  std::vector<generate::Request> requests;
  for (int64_t next = first; next < end;) {
    const int64_t prompt = next / samples, sample = next % samples,
                  num = std::min(samples - sample, end - next);
    requests.push_back({&prompts[static_cast<size_t>(prompt)],
                        options.first_prompt + static_cast<uint64_t>(prompt), sample, num});
    next += num;
  }
  generate::TokenCallback own_callback;
  if (callback)
    own_callback = [&](int64_t completion, int32_t id, double logprob) {
      return callback(first + completion, id, logprob);
    };
  generate::GenerateStats own_stats;
  const std::vector<Completion> completions =
      generate::generate(tokens, requests, options, &own_stats, own_callback);
  if (options.stop && tokens.is_stopped_anywhere()) throw core::Stopped();
  if (stats) {
    *stats = own_stats;
    stats->prompt_tokens = copies.all_reduce_scalar(own_stats.prompt_tokens);
    stats->new_tokens = copies.all_reduce_scalar(own_stats.new_tokens);
  }
  if (copies.size() == 1) return completions;
  std::vector<Completion> all;
  for (const std::string& text : copies.all_gather_strings(to_text(completions))) append(all, text);
  return all;
}

}  // namespace phalanx::trainer
