#include "serve/http_exchange.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "scripted_server.h"

namespace phalanx::serve {
namespace {

using test::ScriptedServer;

const ExchangeOptions kQuick = {.connect_timeout_s = 1,
                                .total_timeout_s = 0.5,
                                .limits = {.max_head_bytes = 1024, .max_body_bytes = 4096}};

TEST(UrlOfAServer, HasHostPortAndTarget) {
  const auto parts = [](const std::string& text) {
    const Url url = parse_url(text);
    return url.host + " " + std::to_string(url.port) + " " + url.target + " " + url.authority();
  };
  EXPECT_EQ(parts("http://judge"), "judge 80 / judge");
  EXPECT_EQ(parts("http://judge:8000/v1/x?y=1"), "judge 8000 /v1/x?y=1 judge:8000");
  EXPECT_EQ(parts("http://judge?y=1"), "judge 80 /?y=1 judge");
  EXPECT_EQ(parts("http://[::1]:8000/v1"), "::1 8000 /v1 [::1]:8000");
}

TEST(UrlOfAServer, IsHttpWithoutSecretsOrTricks) {
  for (const char* text : {"",
                           "judge",
                           "https://judge/",
                           "file:///etc/passwd",
                           "gopher://judge",
                           "HTTP://judge",
                           "http://",
                           "http://:80",
                           "http://judge:",
                           "http://judge:0",
                           "http://judge:65536",
                           "http://judge:80x",
                           "http://judge:-1",
                           "http://judge/a b",
                           "http://judge/a\r\nX: y",
                           "http://judge/#x",
                           "http://judge\\@evil/",
                           "http://[::1",
                           "http://[::1]x:80",
                           "http://user:hunter2@judge/"}) {
    try {
      parse_url(text);
      ADD_FAILURE() << text;
    } catch (const core::Error& error) {
      EXPECT_EQ(error.code(), core::ExitCode::kBadConfig);
      EXPECT_EQ(std::string(error.what()).find("hunter2"), std::string::npos) << error.what();
    }
  }
}

TEST(PostJson, SendsOneRequestAndReadsTheAnswer) {
  ScriptedServer server(
      ScriptedServer::bytes(ScriptedServer::with_length(200, "{\"a\": 1}", "X-Y:  z \r\n")));
  const Answer answer = post_json(parse_url(server.url()), "{}", {{"Authorization", "Bearer k"}}, kQuick);
  EXPECT_EQ(answer.head.status, 200);
  EXPECT_EQ(answer.head.header("x-y"), "z");
  EXPECT_EQ(answer.body, "{\"a\": 1}");
  const std::string request = server.requests().at(0);
  EXPECT_TRUE(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")) << request;
  EXPECT_TRUE(request.ends_with("Authorization: Bearer k\r\n\r\n{}")) << request;
  EXPECT_THROW(post_json(parse_url(server.url()), "{}", {{"X", "a\r\nY: b"}}, kQuick), std::invalid_argument);
}

TEST(PostJson, ReadsBodiesOfEveryFraming) {
  const std::vector<std::string> answers = {
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: u\r\n\r\n",
      "HTTP/1.1 200\r\n\r\nabc", "HTTP/1.0 200 OK\r\n\r\nabc",
      "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"};
  for (const std::string& text : answers) {
    ScriptedServer server(ScriptedServer::bytes(text));
    EXPECT_EQ(post_json(parse_url(server.url()), "{}", {}, kQuick).body, "abc") << text;
  }
}

struct WrongAnswer {
  std::string name;
  std::string bytes;
  std::string says;
  bool may_pass = false;
};

class PostJsonAbuse : public ::testing::TestWithParam<WrongAnswer> {};

TEST_P(PostJsonAbuse, IsRefused) {
  ScriptedServer server(ScriptedServer::bytes(GetParam().bytes));
  try {
    post_json(parse_url(server.url()), "{}", {}, kQuick);
    ADD_FAILURE() << "no error";
  } catch (const ExchangeError& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().says), std::string::npos) << error.what();
    EXPECT_EQ(error.may_pass(), GetParam().may_pass) << error.what();
  }
}

const std::string kOk = "HTTP/1.1 200 OK\r\n";

std::string many_chunks(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "8\r\nabcdefgh\r\n";
  return text;
}

INSTANTIATE_TEST_SUITE_P(
    Table, PostJsonAbuse,
    ::testing::Values(
        WrongAnswer{"Nothing", "", "closed the connection inside of the headers", true},
        WrongAnswer{"HalfAHead", kOk + "Content-Le", "closed the connection inside of the headers", true},
        WrongAnswer{"NotHttp", "SSH-2.0-x\r\n\r\n", "is not HTTP/1.1"},
        WrongAnswer{"Http2", "HTTP/2 200\r\n\r\n", "is not HTTP/1.1"},
        WrongAnswer{"StatusOfFourDigits", "HTTP/1.1 2000 OK\r\n\r\n", "is not HTTP/1.1"},
        WrongAnswer{"StatusOfLetters", "HTTP/1.1 2x0 OK\r\n\r\n", "is not HTTP/1.1"},
        WrongAnswer{"ControlInAHeader", kOk + "A: b\x01\r\n\r\n", "a control character"},
        WrongAnswer{"HeaderWithoutColon", kOk + "abc\r\n\r\n", "NAME: VALUE"},
        WrongAnswer{"LongHead", kOk + "A: " + std::string(2000, 'x') + "\r\n\r\n", "longer than 1024 bytes"},
        WrongAnswer{"EndlessHead", std::string(5000, 'x'), "longer than 1024 bytes"},
        WrongAnswer{
            "InterimForEver",
            "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n",
            "interim answers"},
        WrongAnswer{"LengthShort", kOk + "Content-Length: 2\r\n\r\nabc", "longer than its Content-Length"},
        WrongAnswer{"LengthLong", kOk + "Content-Length: 9\r\n\r\nabc", "inside of the body", true},
        WrongAnswer{"LengthNegative", kOk + "Content-Length: -1\r\n\r\n", "must be one number"},
        WrongAnswer{"LengthTwice", kOk + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
                    "must be one number"},
        WrongAnswer{"LengthHuge", kOk + "Content-Length: 10000000000\r\n\r\n", "larger than 4096 bytes"},
        WrongAnswer{"LengthOverflows", kOk + "Content-Length: 18446744073709551617\r\n\r\n",
                    "must be one number"},
        WrongAnswer{"LengthAndChunks",
                    kOk + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    "without a Content-Length"},
        WrongAnswer{"Gzip", kOk + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "is compressed"},
        WrongAnswer{"GzipChunks", kOk + "Transfer-Encoding: gzip, chunked\r\n\r\n", "must be chunked"},
        WrongAnswer{"ChunkOf2To64", kOk + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
                    "size of a chunk"},
        WrongAnswer{"ChunkNegative", kOk + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", "size of a chunk"},
        WrongAnswer{"ChunkOfNothing", kOk + "Transfer-Encoding: chunked\r\n\r\n\r\n", "size of a chunk"},
        WrongAnswer{"ChunkTooLong", kOk + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
                    "longer than it says"},
        WrongAnswer{"ChunkLineForEver", kOk + "Transfer-Encoding: chunked\r\n\r\n1;" + std::string(999, 'x'),
                    "longer than 256 bytes"},
        WrongAnswer{"ChunksWithoutEnd", kOk + "Transfer-Encoding: chunked\r\n\r\n" + many_chunks(1000),
                    "too large"},
        WrongAnswer{"ChunksEndEarly", kOk + "Transfer-Encoding: chunked\r\n\r\n2\r\na", "inside of the body",
                    true},
        WrongAnswer{"BodyWithoutEnd", kOk + "\r\n" + std::string(9000, 'x'), "larger than 4096 bytes"}),
    [](const auto& info) { return info.param.name; });

/// Sends `piece` for ever, one every 10 ms.
ScriptedServer::Act drip(const std::string& begin, const std::string& piece) {
  return [=](int socket, const std::string&, int) {
    ScriptedServer::send(socket, begin);
    for (int i = 0; i < 300 && ScriptedServer::send(socket, piece); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
}

TEST(PostJson, GivesUpOnAServerThatIsSlow) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {"HTTP/1.1 200 OK\r\nA: ", "x"},
      {kOk + "Content-Length: 4000\r\n\r\n", "x"},
      {kOk + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"}};
  for (const auto& [begin, piece] : cases) {
    ScriptedServer server(drip(begin, piece));
    const auto started = std::chrono::steady_clock::now();
    try {
      post_json(parse_url(server.url()), "{}", {}, kQuick);
      ADD_FAILURE() << "no error";
    } catch (const ExchangeError& error) {
      EXPECT_STREQ(error.what(), "the answer did not come in time");
      EXPECT_TRUE(error.may_pass());
    }
    EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(2));
  }
}

TEST(PostJson, SaysWhenTheConnectionBreaks) {
  ScriptedServer server([](int socket, const std::string&, int) {
    ScriptedServer::send(socket, kOk + "Content-Length: 100\r\n\r\nhalf");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ScriptedServer::reset(socket);
  });
  try {
    post_json(parse_url(server.url()), "{}", {}, kQuick);
    ADD_FAILURE() << "no error";
  } catch (const ExchangeError& error) {
    EXPECT_STREQ(error.what(), "it broke the connection: Connection reset by peer");
    EXPECT_TRUE(error.may_pass());
  }
}

TEST(PostJson, SaysWhenNobodyListens) {
  uint16_t port = 0;
  {
    ScriptedServer server(ScriptedServer::bytes(""));
    port = server.port();
  }
  try {
    post_json({.host = "127.0.0.1", .port = port}, "{}", {}, kQuick);
    ADD_FAILURE() << "no error";
  } catch (const ExchangeError& error) {
    EXPECT_STREQ(error.what(), "it cannot be reached: Connection refused");
    EXPECT_TRUE(error.may_pass());
  }
}

}  // namespace
}  // namespace phalanx::serve
