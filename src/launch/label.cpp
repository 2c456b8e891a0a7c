#include "launch/label.h"

#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "core/log.h"
#include "label/agreement.h"
#include "label/label_service.h"
#include "launch/command.h"
#include "launch/reward_judge.h"
#include "launch/stop_signal.h"
#include "serve/http_server.h"

namespace phalanx::launch {
namespace {

struct LabelArguments {
  LabelJob job;
  std::string stats;
};

int print_agreement(const std::string& out) {
  const std::string journal = label::journal_path(out);
  if (!std::filesystem::exists(journal)) {
    core::fail(core::ExitCode::kBadInput,
               "{}: no such file; --stats takes what --out was, and its answers are recorded beside it",
               journal);
  }
  std::cout << label::to_text(label::measure_agreement(label::read_journal(journal))) << std::flush;
  return 0;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

/// What to type into the browser.
std::string address(const LabelJob& job, const serve::HttpServer& server, const std::string& token) {
  const bool is_any = job.host == "0.0.0.0" || job.host == "::";
  std::string host = is_any ? host_name() : job.host;
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return fmt::format("http://{}:{}/{}", host, server.port(), token.empty() ? "" : "?token=" + token);
}

/// Scores that nothing asks for are a mistake.
void check_reward_model(const LabelJob& job) {
  if (!job.reward_model.empty() && job.order.order != "uncertain")
    core::fail(
        core::ExitCode::kBadConfig,
        "--reward-model scores the pairs for --order uncertain, but --order is {}; leave one of them out",
        job.order.order);
}

void check_job(const LabelJob& job) {
  if (job.data.empty() || job.out.empty()) {
    core::fail(core::ExitCode::kBadConfig,
               "label needs DATA and --out FILE, as in: phalanx label pairs.jsonl --out prefs.jsonl; or "
               "--stats FILE");
  }
  std::error_code ignored;
  if (std::filesystem::equivalent(job.data, job.out, ignored)) {
    core::fail(core::ExitCode::kBadConfig,
               "--out {}: is DATA itself, which would be overwritten; name another", job.out);
  }
}

int label_command(const LabelArguments& arguments) {
  if (!arguments.stats.empty()) return print_agreement(arguments.stats);
  check_reward_model(arguments.job);
  const core::ExitCode code = label_answers(arguments.job);
  // Whoever gave no goal ends it when it is enough.
  return arguments.job.goal ? static_cast<int>(code) : 0;
}

label::PairFile read_job(const LabelJob& job) {
  label::PairOptions options = job.pairs;
  options.needs_margin = job.order.order == "uncertain" && job.reward_model.empty();
  label::PairFile file = label::read_pairs(job.data, options);
  if (file.num_equal + file.num_repeated > 0) {
    core::log_warning("{}: left out {} pairs of equal answers and {} that stood there before", job.data,
                      file.num_equal, file.num_repeated);
  }
  if (!job.reward_model.empty()) {
    const size_t count = label::score_pairs(file.pairs, reward_judge(job.reward_model), job.out + ".scores");
    core::log_note("{} has scored {} pairs, {} of them now; those where it is least sure come first",
                   job.reward_model, file.pairs.size(), count);
  }
  return file;
}

const bool label_registered = register_command(
    {"label", "Web page where people choose the better of two answers; writes preference data",
     [](CLI::App& app) {
       auto arguments = std::make_shared<LabelArguments>();
       LabelJob& a = arguments->job;
       app.add_option("data", a.data, "Records with two or more answers to a prompt");
       app.add_option("--out", a.out, "Preferences as JSONL; FILE.journal beside it records every answer");
       app.add_option("--stats", arguments->stats, "Prints how far the labellers of FILE agree, and ends");
       app.add_option("--host", a.host,
                      "Address to listen on; one that other machines reach is protected by a token")
           ->capture_default_str();
       app.add_option("--port", a.port, "0: any free one")->capture_default_str();
       app.add_flag("--token", a.wants_token, "A token on this machine's own address, too");
       CLI::Option* order =
           app.add_option("--order", a.order.order, "uncertain: the smallest margin of scores first")
               ->check(CLI::IsMember({"file", "random", "uncertain"}))
               ->capture_default_str();
       app.add_option("--reward-model", a.reward_model,
                      "Scores the pairs; the pairs where it is least sure come first (--order uncertain)");
       app.add_option("--preferences", a.goal,
                      "Ends when so many preferences stand; stopped before, it exits with 75")
           ->check(CLI::PositiveNumber);
       app.add_option("--score", a.pairs.score_field,
                      "Field with the margin, or a list with a score for each answer");
       app.add_option("--seed", a.order.seed, "Names the order of questions and the sides of answers")
           ->capture_default_str();
       app.add_option("--answers", a.pairs.answer_fields, "The two fields that hold the answers: NAME,NAME")
           ->delimiter(',')
           ->expected(2);
       app.add_option("--prompt", a.pairs.prompt_field, "The field that holds the prompt")
           ->capture_default_str();
       return [arguments, order] {
         LabelJob& job = arguments->job;
         if (!job.reward_model.empty() && order->count() == 0) job.order.order = "uncertain";
         return label_command(*arguments);
       };
     }});

}  // namespace

core::ExitCode label_answers(const LabelJob& job) {
  check_job(job);
  install_stop_signals();
  label::PairFile file = read_job(job);
  serve::ServerOptions options;
  options.host = job.host;
  options.port = job.port;
  serve::HttpServer server(options);
  label::LabelStore store(job.out);
  for (const std::string& notice : store.notices()) core::log_warning("{}", notice);
  const std::string token = job.wants_token || !server.is_loopback() ? serve::make_token() : "";
  const size_t num_pairs = file.pairs.size();
  label::LabelService service(
      std::move(file.pairs), job.order, store,
      serve::Access({token, {host_name()}, fmt::format("phalanx_token_{}", server.port())}), job.goal);
  core::log_note("{} pairs of {} records; answers go to {}", num_pairs, file.num_records, job.out);
  core::log_note("open {} (Ctrl-C ends; every answer is saved when it is given)",
                 address(job, server, token));
  server.run([&](const serve::Request& request) { return service.handle(request); },
             [&] { return service.is_finished() || stop_requested(); });
  if (service.is_finished()) {
    core::log_note("enough: {} preferences are in {}", service.num_preferences(), job.out);
    return core::ExitCode::kDone;
  }
  core::log_note("ended; the same command goes on where it stopped");
  return core::ExitCode::kStopped;
}

}  // namespace phalanx::launch
