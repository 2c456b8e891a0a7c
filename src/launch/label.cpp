#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "core/log.h"
#include "label/agreement.h"
#include "label/label_service.h"
#include "launch/command.h"
#include "launch/stop_signal.h"
#include "serve/http_server.h"

namespace phalanx::launch {
namespace {

struct LabelArguments {
  std::string data, out, stats;
  std::string host = "127.0.0.1";
  uint16_t port = 8765;
  bool wants_token = false;
  label::OrderOptions order;
  label::PairOptions pairs;
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
std::string address(const LabelArguments& arguments, const serve::HttpServer& server,
                    const std::string& token) {
  const bool is_any = arguments.host == "0.0.0.0" || arguments.host == "::";
  std::string host = is_any ? host_name() : arguments.host;
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return fmt::format("http://{}:{}/{}", host, server.port(), token.empty() ? "" : "?token=" + token);
}

void check_arguments(const LabelArguments& arguments) {
  if (arguments.data.empty() || arguments.out.empty()) {
    core::fail(core::ExitCode::kBadConfig,
               "label needs DATA and --out FILE, as in: phalanx label pairs.jsonl --out prefs.jsonl; or "
               "--stats FILE");
  }
  std::error_code ignored;
  if (std::filesystem::equivalent(arguments.data, arguments.out, ignored)) {
    core::fail(core::ExitCode::kBadConfig,
               "--out {}: is DATA itself, which would be overwritten; name another", arguments.out);
  }
}

int label_data(LabelArguments arguments) {
  if (!arguments.stats.empty()) return print_agreement(arguments.stats);
  check_arguments(arguments);
  install_stop_signals();
  arguments.pairs.needs_margin = arguments.order.order == "uncertain";
  label::PairFile file = label::read_pairs(arguments.data, arguments.pairs);
  serve::ServerOptions options;
  options.host = arguments.host;
  options.port = arguments.port;
  serve::HttpServer server(options);
  label::LabelStore store(arguments.out);
  for (const std::string& notice : store.notices()) core::log_warning("{}", notice);
  if (file.num_equal + file.num_repeated > 0) {
    core::log_warning("{}: left out {} pairs of equal answers and {} that stood there before", arguments.data,
                      file.num_equal, file.num_repeated);
  }
  const std::string token = arguments.wants_token || !server.is_loopback() ? serve::make_token() : "";
  const size_t num_pairs = file.pairs.size();
  label::LabelService service(
      std::move(file.pairs), arguments.order, store,
      serve::Access({token, {host_name()}, fmt::format("phalanx_token_{}", server.port())}));
  core::log_note("{} pairs of {} records; answers go to {}", num_pairs, file.num_records, arguments.out);
  core::log_note("open {} (Ctrl-C ends; every answer is saved when it is given)",
                 address(arguments, server, token));
  server.run([&](const serve::Request& request) { return service.handle(request); }, stop_requested);
  core::log_note("ended; the same command goes on where it stopped");
  return 0;
}

const bool label_registered = register_command(
    {"label", "Web page where people choose the better of two answers; writes preference data",
     [](CLI::App& app) {
       auto arguments = std::make_shared<LabelArguments>();
       LabelArguments& a = *arguments;
       app.add_option("data", a.data, "Records with two or more answers to a prompt");
       app.add_option("--out", a.out, "Preferences as JSONL; FILE.journal beside it records every answer");
       app.add_option("--stats", a.stats, "Prints how far the labellers of FILE agree, and ends");
       app.add_option("--host", a.host,
                      "Address to listen on; one that other machines reach is protected by a token")
           ->capture_default_str();
       app.add_option("--port", a.port, "0: any free one")->capture_default_str();
       app.add_flag("--token", a.wants_token, "A token on this machine's own address, too");
       app.add_option("--order", a.order.order, "uncertain: the smallest margin of scores first")
           ->check(CLI::IsMember({"file", "random", "uncertain"}))
           ->capture_default_str();
       app.add_option("--score", a.pairs.score_field,
                      "Field with the margin, or a list with a score for each answer");
       app.add_option("--seed", a.order.seed, "Names the order of questions and the sides of answers")
           ->capture_default_str();
       app.add_option("--answers", a.pairs.answer_fields, "The two fields that hold the answers: NAME,NAME")
           ->delimiter(',')
           ->expected(2);
       app.add_option("--prompt", a.pairs.prompt_field, "The field that holds the prompt")
           ->capture_default_str();
       return [arguments] { return label_data(*arguments); };
     }});

}  // namespace
}  // namespace phalanx::launch
