#include "generate/generate.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>

#include "core/files.h"
#include "generate/stop_strings.h"
#include "launch/command.h"
#include "launch/json_stream.h"
#include "launch/ranks.h"
#include "launch/spread_model.h"
#include "launch/verify_rollouts.h"
#include "trainer/generation.h"
#include "trainer/rollout_check.h"
#include "trainer/rollouts.h"

namespace phalanx::launch {
namespace {

struct GenerateArguments {
  std::string model;
  std::vector<std::string> sets;
  generate::GenerateOptions options;
  bool ignore_eos = false;
  std::string stats;
};

void declare(CLI::App& app, GenerateArguments& arguments) {
  app.add_option("model", arguments.model, "Hugging Face folder, .gguf file, adapter, checkpoint or run")
      ->required();
  app.add_option("--max-new-tokens", arguments.options.max_new_tokens, "Longest answer, tokens")
      ->check(CLI::PositiveNumber);
  auto& sampling = arguments.options.sampling;
  app.add_option("--temperature", sampling.temperature, "0: always the most likely token");
  app.add_option("--top-k", sampling.top_k, "Only the k most likely tokens; 0: all");
  app.add_option("--top-p", sampling.top_p, "Only the most likely tokens that reach probability p together");
  app.add_option("--min-p", sampling.min_p,
                 "Only tokens with at least this share of the highest probability");
  app.add_option("--repetition-penalty", sampling.repetition_penalty,
                 "Above 1: tokens seen before become less likely");
  app.add_option("--seed", sampling.seed, "Seed of the sampling");
  app.add_option("--num-samples", arguments.options.num_samples, "Answers to every prompt, one row each")
      ->check(CLI::PositiveNumber);
  app.add_option("--stop", arguments.options.stop_strings,
                 "The answer ends before this text; may be given several times");
  app.add_flag("--ignore-eos", arguments.ignore_eos, "Go on after a stop token");
  app.add_option("--stats", arguments.stats, "Write tokens/s, TTFT and TPOT to this JSON file");
  add_set_option(app, arguments.sets);
}

nlohmann::ordered_json to_json(const generate::GenerateStats& stats) {
  return {{"total_s", stats.total_s},
          {"prompt_tokens", stats.prompt_tokens},
          {"new_tokens", stats.new_tokens},
          {"tokens_per_s", stats.tokens_per_s()},
          {"ttft_s", stats.ttft_s},
          {"tpot_s", stats.tpot_s},
          {"decode_tokens_per_s", stats.tpot_s > 0 ? 1.0 / stats.tpot_s : 0.0}};
}

generate::GenerateOptions options_for(const GenerateArguments& arguments, const core::Config& config,
                                      const data::Tokenizer& tokenizer) {
  generate::GenerateOptions options = arguments.options;
  options.rollout = config.get<generate::RolloutOptions>();
  options.tokenizer = &tokenizer;
  if (!arguments.ignore_eos) options.stop_ids = tokenizer.stop_ids();
  return options;
}

using Prompts = std::vector<std::vector<int32_t>>;

/// Rank 0 has read them; standard input is its alone.
Prompts on_all_ranks(const Prompts& prompts, comm::Communicator& group) {
  return nlohmann::json::parse(group.broadcast_string(nlohmann::json(prompts).dump())).get<Prompts>();
}

Prompts read_prompts(const SpreadModel& spread, const core::Config& config, comm::Communicator& group) {
  const data::ExampleBuilder builder = example_builder(spread.source(), config);
  Prompts prompts;
  if (group.rank() == 0) {
    for_each_row([&](const InputRow& row) {
      prompts.push_back(tokens_of(row, spread.tokenizer(), builder, /*for_prompt=*/true).ids);
    });
  }
  return on_all_ranks(prompts, group);
}

int generate_rows(const GenerateArguments& arguments) {
  const core::Config config = core::Config::defaults(arguments.sets);
  arguments.options.sampling.validate();
  return on_ranks(config, [&](comm::Communicator& group) {
    SpreadModel spread(arguments.model, config, group);
    const generate::GenerateOptions options = options_for(arguments, config, spread.tokenizer());
    generate::GenerateStats stats;
    const std::vector<generate::Completion> completions =
        trainer::generate(spread.model(), read_prompts(spread, config, group), options, &stats);
    if (group.rank() != 0) return 0;
    for (const generate::Completion& completion : completions) {
      const std::string text = spread.tokenizer().decode(completion.ids, /*skip_special_tokens=*/true);
      print_row({{"text", generate::before_stop_string(text, options.stop_strings)},
                 {"ids", completion.ids},
                 {"logprobs", completion.logprobs},
                 {"finish_reason", completion.finish_reason}});
    }
    std::cout << std::flush;
    std::fprintf(stderr, "%ld new tokens, %.1f tok/s, TTFT %.0f ms, TPOT %.1f ms\n",
                 static_cast<long>(stats.new_tokens), stats.tokens_per_s(), 1e3 * stats.ttft_s,
                 1e3 * stats.tpot_s);
    if (!arguments.stats.empty()) core::write_file_atomic(arguments.stats, to_json(stats).dump() + "\n");
    return 0;
  });
}

/// The log-probabilities of what is generated against those of a training step on the same tokens.
int verify_rollouts(const GenerateArguments& arguments) {
  const core::Config config = core::Config::defaults(arguments.sets);
  arguments.options.sampling.validate();
  return on_ranks(config, [&](comm::Communicator& group) {
    SpreadModel spread(arguments.model, config, group);
    const generate::GenerateOptions options = options_for(arguments, config, spread.tokenizer());
    const Prompts prompts = read_prompts(spread, config, group);
    const std::vector<generate::Completion> completions =
        trainer::rollouts(spread.model(), prompts, options.num_samples, options);
    const trainer::LogprobMismatch mismatch = trainer::logprob_mismatch(
        spread.model(), prompts, completions, options.sampling.temperature, options.rollout.batch_invariant);
    if (group.rank() != 0) return 0;
    print_row({{"num_tokens", mismatch.num_tokens},
               {"largest_difference", mismatch.largest},
               {"mean_kl", mismatch.mean_kl}});
    std::cout << std::flush;
    return 0;
  });
}

/// A line of the terminal on every rank; none where the conversation ends.
std::optional<std::string> next_line(comm::Communicator& group) {
  std::string line;
  if (group.rank() == 0) {
    std::fprintf(stderr, "> ");
    if (!std::getline(std::cin, line)) line.clear();
  }
  line = group.broadcast_string(line);
  return line.empty() ? std::nullopt : std::optional(line);
}

/// A conversation on the terminal: a line of the user, the answer as it comes.
int chat(const GenerateArguments& arguments) {
  using data::jinja::Value;
  const core::Config config = core::Config::defaults(arguments.sets);
  arguments.options.sampling.validate();
  return on_ranks(config, [&](comm::Communicator& group) {
    SpreadModel spread(arguments.model, config, group);
    const bool is_main = group.rank() == 0;
    const data::ExampleBuilder builder = example_builder(spread.source(), config);
    generate::GenerateOptions options = options_for(arguments, config, spread.tokenizer());
    options.num_samples = 1;
    std::vector<Value> messages;
    const auto say = [&](const char* role, std::string text) {
      data::jinja::Dict message;
      message.set("role", Value(role));
      message.set("content", Value(std::move(text)));
      messages.emplace_back(std::move(message));
    };
    if (is_main)
      std::fprintf(stderr, "One line is one turn; an empty line or end of input ends the conversation.\n");
    while (const std::optional<std::string> line = next_line(group)) {
      say("user", *line);
      data::StreamDecoder decoder(spread.tokenizer());
      std::string answer;
      const auto show = [&](const std::string& piece) {
        answer += piece;
        if (is_main) std::cout << piece << std::flush;
      };
      generate::GenerateStats stats;
      trainer::generate(spread.model(), {builder.build_prompt(Value(messages), Value()).ids}, options, &stats,
                        [&](int64_t, int32_t id, double) {
                          show(decoder.push(id));
                          return true;
                        });
      show(decoder.finish() + "\n");
      answer = group.broadcast_string(answer);
      say("assistant", answer.substr(0, answer.find_last_not_of('\n') + 1));
      if (is_main)
        std::fprintf(stderr, "(%ld tokens, %.1f tok/s, TTFT %.0f ms)\n", static_cast<long>(stats.new_tokens),
                     stats.tokens_per_s(), 1e3 * stats.ttft_s);
    }
    return 0;
  });
}

using Body = int (*)(const GenerateArguments&);

std::function<int()> declare(CLI::App& app, Body body) {
  auto arguments = std::make_shared<GenerateArguments>();
  declare(app, *arguments);
  return [arguments, body] { return body(*arguments); };
}

Command command(const std::string& name, const std::string& help, Body body) {
  return {name, help, [body](CLI::App& app) { return declare(app, body); }};
}

const bool generate_registered = register_command(
    command("generate", "Continues prompts or answers messages (JSONL on stdin)", generate_rows));
const bool chat_registered = register_command(command("chat", "A conversation on the terminal", chat));

}  // namespace

std::function<int()> declare_verify_rollouts(CLI::App& app) {
  return declare(app, verify_rollouts);
}

}  // namespace phalanx::launch
