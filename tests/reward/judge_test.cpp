#include "reward/judge.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/json.h"
#include "core/log.h"
#include "reward/judge_endpoints.h"
#include "reward_test_util.h"
#include "serve/scripted_server.h"

namespace phalanx::reward {
namespace {

using serve::test::ScriptedServer;
using test::refusal;

const std::string kQuestion = R"({"prompt":"3 + 4?","ground_truth":"7"})";
constexpr JudgePatience kImpatient = {.first_wait_s = 0.01, .max_wait_s = 0.05, .rest_s = 0.2};

TermOptions judge_options(std::vector<std::string> urls) {
  return {.name = "judge",
          .timeout_s = 0.5,
          .urls = std::move(urls),
          .model = "m",
          .prompt = "Rate {\"x\"} {completion} for {prompt}, right is {ground_truth}",
          .num_attempts = 3};
}

std::string says(const std::string& content) {
  return ScriptedServer::with_length(
      200, core::to_text(
               {{"choices", {{{"index", 0}, {"message", {{"role", "assistant"}, {"content", content}}}}}}}));
}

class JudgeOf : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/phalanx-judge-test-XXXXXX";
    folder_ = ::mkdtemp(name);
    core::set_up_log({.file = folder_ + "/log"});
  }
  void TearDown() override {
    core::set_up_log({});
    set_environment([](const char*) { return std::nullopt; });
    std::filesystem::remove_all(folder_);
  }
  std::string log() const {
    std::ifstream file(folder_ + "/log");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Score ask(const TermOptions& options, const std::string& completion = "It is 7") {
    test::Samples samples;
    samples.add(kQuestion, completion);
    return test::judged("judge", judge_with(options, kImpatient), samples)[0];
  }
  Score ask_one(ScriptedServer::Act act) {
    ScriptedServer server(std::move(act));
    const Score score = ask(judge_options({server.url()}));
    num_requests_ = server.requests().size();
    return score;
  }

  std::string folder_;
  size_t num_requests_ = 0;
};

core::Json body_of(const std::string& request) {
  return core::parse_json(request.substr(request.find("\r\n\r\n") + 4), "request");
}

TEST_F(JudgeOf, AnAnswerIsAskedAboutItAndNamesANumber) {
  set_environment([](const char* name) {
    return std::string(name) == "JUDGE_KEY" ? std::optional<std::string>("sk-hunter2") : std::nullopt;
  });
  ScriptedServer server(ScriptedServer::bytes(says("At first 3, in the end: 8.5")));
  TermOptions options = judge_options({server.url()});
  options.api_key_env = "JUDGE_KEY";
  EXPECT_EQ(ask(options, "It is {prompt}\r\nX-Evil: 1\r\n\r\n\xE2\x82"), 8.5);
  const std::string request = server.requests().at(0);
  const core::Json body = body_of(request);
  EXPECT_EQ(body.at("model"), "m");
  EXPECT_EQ(body.at("temperature"), 0);
  EXPECT_EQ(
      body.at("messages").at(0).at("content"),
      "Rate {\"x\"} It is {prompt}\r\nX-Evil: 1\r\n\r\n\xEF\xBF\xBD\xEF\xBF\xBD for 3 + 4?, right is 7");
  EXPECT_NE(request.find("\r\nAuthorization: Bearer sk-hunter2\r\n"), std::string::npos);
  EXPECT_EQ(request.substr(0, request.find("\r\n\r\n")).find("X-Evil"), std::string::npos);
  EXPECT_EQ(log(), "");
}

TEST_F(JudgeOf, ManySamplesGivesEachItsOwn) {
  ScriptedServer server([](int socket, const std::string& request, int) {
    const std::string text = body_of(request).at("messages").at(0).at("content");
    ScriptedServer::send(socket, says("Score: " + text.substr(std::string("Rate {\"x\"} ").size(), 1)));
  });
  test::Samples samples;
  for (int i = 0; i < 10; ++i) samples.add(kQuestion, std::to_string(i));
  EXPECT_EQ(test::judged("judge", judge_with(judge_options({server.url()}), kImpatient), samples),
            (std::vector<Score>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

struct BadAnswer {
  std::string name, bytes, says;
  size_t num_requests = 1;
};

class JudgeAbuse : public JudgeOf, public ::testing::WithParamInterface<BadAnswer> {};

TEST_P(JudgeAbuse, LeavesTheAnswerWithoutScore) {
  EXPECT_EQ(ask_one(ScriptedServer::bytes(GetParam().bytes)), std::nullopt);
  EXPECT_EQ(num_requests_, GetParam().num_requests);
  EXPECT_NE(log().find("judge: 1 of 1 answers have no score; the first: "), std::string::npos) << log();
  EXPECT_NE(log().find(GetParam().says), std::string::npos) << log();
}

std::string body_200(const std::string& body) {
  return ScriptedServer::with_length(200, body);
}

INSTANTIATE_TEST_SUITE_P(
    Table, JudgeAbuse,
    ::testing::Values(
        BadAnswer{"Html", body_200("<html>"), "the judge's answer: byte 0"},
        BadAnswer{"Empty", body_200(""), "byte 0"},
        BadAnswer{"InvalidUtf8", body_200("{\"choices\": \"\xFF\"}"), "the judge's answer: byte"},
        BadAnswer{"Deep", body_200(std::string(1000, '[')), "the judge's answer: byte"},
        BadAnswer{"DuplicateKeys", body_200(R"({"choices":[],"choices":[]})"), "the judge's answer: byte"},
        BadAnswer{"NoChoices", body_200("{}"), "has no choices[0].message.content"},
        BadAnswer{"NotAnObject", body_200("[1]"), "has no choices[0].message.content"},
        BadAnswer{"NoChoice", body_200(R"({"choices":[]})"), "not one choice"},
        BadAnswer{"TwoChoices",
                  body_200(R"({"choices":[{"message":{"content":"1"}},{"message":{"content":"2"}}]})"),
                  "not one choice"},
        BadAnswer{"NullContent", body_200(R"({"choices":[{"message":{"content":null}}]})"),
                  "has no choices[0]"},
        BadAnswer{"NumberContent", body_200(R"({"choices":[{"message":{"content":7}}]})"),
                  "has no choices[0]"},
        BadAnswer{"NoNumber", says("very good"), "named no score: very good"},
        BadAnswer{"OutOfRange", says("10.5"), "is 10.5, outside of range [0, 10]"},
        BadAnswer{"Negative", says("-1"), "is -1, outside of range"},
        BadAnswer{"HugeNumber", says(std::string(400, '9')), "is no number"},
        BadAnswer{"TerminalEscapes", says("\x1b[mred"), "\\x1b[mred"},
        BadAnswer{"Gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", "is compressed"},
        BadAnswer{"Redirect", ScriptedServer::with_length(302, "", "Location: http://127.0.0.1:1/\r\n"),
                  "status 302"},
        BadAnswer{"RedirectToAFile", ScriptedServer::with_length(307, "", "Location: file:///etc/passwd\r\n"),
                  "status 307"},
        BadAnswer{"Unauthorized", ScriptedServer::with_length(401, "no"), "status 401 (1 tries)"},
        BadAnswer{"BadRequest", ScriptedServer::with_length(400, "no"), "status 400 (1 tries)"},
        BadAnswer{"ServerErrorForEver", ScriptedServer::with_length(500, "no"), "status 500 (3 tries)", 3},
        BadAnswer{"BusyForAges", ScriptedServer::with_length(429, "no", "Retry-After: 1000000000\r\n"),
                  "status 429 (3 tries)", 3},
        BadAnswer{"BusySinceThePast",
                  ScriptedServer::with_length(429, "no", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
                  "status 429 (3 tries)", 3},
        BadAnswer{"HalfABody", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
                  "inside of the body (3 tries)", 3},
        BadAnswer{"ClosesAtOnce", "", "inside of the headers (3 tries)", 3}),
    [](const auto& info) { return info.param.name; });

TEST_F(JudgeOf, ATransientFailureIsAskedAgainUnderTheSameKey) {
  ScriptedServer server([](int socket, const std::string&, int number) {
    if (number == 0) return;  // closes
    ScriptedServer::send(
        socket, number == 1 ? ScriptedServer::with_length(503, "", "Retry-After: 0\r\n") : says("6"));
  });
  EXPECT_EQ(ask(judge_options({server.url()})), 6.0);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  const auto key = [](const std::string& request) {
    const size_t at = request.find("Idempotency-Key: ");
    return request.substr(at, request.find("\r\n", at) - at);
  };
  EXPECT_EQ(key(requests[0]), key(requests[2]));
  EXPECT_EQ(key(requests[0]).size(), std::string("Idempotency-Key: ").size() + 32);
  EXPECT_EQ(log(), "");
}

TEST_F(JudgeOf, IsAskedAgainAsOftenAsAllowed) {
  ScriptedServer server([](int socket, const std::string&, int number) {
    if (number < 100 && number % 3 == 1) return ScriptedServer::reset(socket);
    ScriptedServer::send(
        socket, number < 100 ? ScriptedServer::with_length(number % 2 ? 500 : 429, "no") : says("6"));
  });
  TermOptions options = judge_options({server.url()});
  options.num_attempts = 101;
  test::Samples samples;
  samples.add(kQuestion, "7");
  EXPECT_EQ(judge_with(options, {.first_wait_s = 0.001, .max_wait_s = 0.001, .rest_s = 0.001})
                ->score(samples)[0]
                .score,
            6.0);
  EXPECT_EQ(server.requests().size(), 101U);
}

TEST_F(JudgeOf, AServerThatIsGoneForAWhileIsWaitedFor) {
  const auto begin = std::chrono::steady_clock::now();
  ScriptedServer server([begin](int socket, const std::string&, int) {
    if (std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(600))
      ScriptedServer::send(socket, says("6"));
  });
  TermOptions options = judge_options({server.url()});
  options.num_attempts = 50;
  test::Samples samples;
  for (int i = 0; i < 16; ++i) samples.add(kQuestion, "7");
  EXPECT_EQ(test::scores_of(judge_with(options, kImpatient)->score(samples)), std::vector<Score>(16, 6.0));
}

TEST_F(JudgeOf, ASlowServerIsGivenUp) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(ask_one([](int socket, const std::string&, int) {
              for (int i = 0; i < 100 && ScriptedServer::send(socket, "H"); ++i)
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            }),
            std::nullopt);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(6));
  EXPECT_NE(log().find("did not come in time (3 tries)"), std::string::npos) << log();
}

TEST_F(JudgeOf, ARequestToStopEndsPausesAndExchanges) {
  const ScriptedServer::Act busy =
      ScriptedServer::bytes(ScriptedServer::with_length(429, "", "Retry-After: 60\r\n"));
  const ScriptedServer::Act silent = [](int socket, const std::string&, int) {
    char byte;
    ::recv(socket, &byte, 1, 0);
  };
  for (const ScriptedServer::Act& act : {busy, silent}) {
    ScriptedServer server(act);
    TermOptions options = judge_options({server.url()});
    options.timeout_s = 60;
    test::Samples samples;
    for (int i = 0; i < 8; ++i) samples.add(kQuestion, "7");
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THROW(judge(options)->score(samples, [&] { return server.requests().size() >= 4; }),
                 core::Stopped);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  }
}

TEST_F(JudgeOf, OneBadEndpointOfTwoDoesNotMatter) {
  ScriptedServer good(ScriptedServer::bytes(says("6"))), bad(ScriptedServer::bytes(""));
  TermOptions options = judge_options({bad.url(), good.url()});
  options.num_parallel = 1;
  test::Samples samples;
  for (int i = 0; i < 20; ++i) samples.add(kQuestion, "7");
  JudgePatience patience = kImpatient;
  patience.rest_s = 100;
  EXPECT_EQ(test::judged("judge", judge_with(options, patience), samples), std::vector<Score>(20, 6.0));
  EXPECT_EQ(bad.requests().size(), 3u) << "then it was left alone";
  EXPECT_EQ(good.requests().size(), 20u);
}

TEST(JudgeEndpointsInTurn, RestAfterThreeFailuresAndComeBack) {
  JudgeEndpoints endpoints({serve::Url{.host = "a"}, serve::Url{.host = "b"}}, 0.05);
  EXPECT_EQ(endpoints.choose(), 0u);
  EXPECT_EQ(endpoints.choose(), 1u);
  for (int i = 0; i < 3; ++i) endpoints.report(0, false);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(endpoints.choose(), 1u);
  for (int i = 0; i < 3; ++i) endpoints.report(1, false);
  EXPECT_EQ(endpoints.choose(), 0u) << "all rest: the one that began first";
  std::this_thread::sleep_for(std::chrono::milliseconds(80));
  EXPECT_EQ(endpoints.choose(), 0u);
  EXPECT_EQ(endpoints.choose(), 1u);
}

TEST_F(JudgeOf, TheKeyIsInNoMessage) {
  set_environment([](const char*) { return std::optional<std::string>("sk-hunter2"); });
  for (const std::string& answer : {ScriptedServer::with_length(401, "sk-hunter2"),
                                    ScriptedServer::with_length(500, "sk-hunter2"), std::string()}) {
    ScriptedServer server(ScriptedServer::bytes(answer));
    TermOptions options = judge_options({server.url()});
    options.api_key_env = "JUDGE_KEY";
    EXPECT_EQ(ask(options), std::nullopt);
  }
  EXPECT_EQ(log().find("hunter2"), std::string::npos) << log();
}

TEST_F(JudgeOf, AKeyThatBreaksAHeaderIsRefusedUnseen) {
  TermOptions options = judge_options({"http://localhost:1/"});
  options.api_key_env = "JUDGE_KEY";
  EXPECT_NE(refusal(options).find("the environment variable JUDGE_KEY is not set"), std::string::npos);
  for (const char* key : {"sk-hunter2\r\nX: y", "sk hunter2", "sk-hunter2\xC3\xA4"}) {
    set_environment([key](const char*) { return std::optional<std::string>(key); });
    const std::string message = refusal(options);
    EXPECT_NE(message.find("what JUDGE_KEY holds is no key"), std::string::npos) << message;
    EXPECT_EQ(message.find("hunter2"), std::string::npos) << message;
  }
}

TEST(JudgeConfig, IsWholeOrRefused) {
  const auto with = [](auto change) {
    TermOptions options = judge_options({"http://localhost:1/"});
    change(options);
    return refusal(options);
  };
  EXPECT_NE(with([](TermOptions& o) { o.urls = {}; }).find("judge needs urls"), std::string::npos);
  EXPECT_NE(with([](TermOptions& o) { o.urls = {"https://x/"}; }).find("another scheme than http"),
            std::string::npos);
  EXPECT_NE(with([](TermOptions& o) { o.model = ""; }).find("judge needs model"), std::string::npos);
  EXPECT_NE(with([](TermOptions& o) { o.prompt = "Rate"; }).find("{completion}"), std::string::npos);
  EXPECT_NE(with([](TermOptions& o) { o.range = {1, 1}; }).find("range must be"), std::string::npos);
  EXPECT_NE(with([](TermOptions& o) { o.pattern = "\\d"; }).find("has no group"), std::string::npos);
}

}  // namespace
}  // namespace phalanx::reward
