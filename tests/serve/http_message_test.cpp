#include "serve/http_message.h"

#include <gtest/gtest.h>

#include <functional>

namespace phalanx::serve {
namespace {

const MessageLimits kLimits;

int status_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const HttpError& error) {
    return error.status();
  }
  return 200;
}

int head_status(const std::string& head) {
  return status_of([&] { parse_head(head, kLimits); });
}

TEST(HttpMessage, ReadsRequestLineQueryAndHeaders) {
  const Request request = parse_head(
      "POST /a%20b/c?x=1&name=J%C3%BCrgen+K&x=2&flag HTTP/1.1\r\nHost: localhost:80\r\nCONTENT-Type:\t a/b "
      "\r\n"
      "Empty:",
      kLimits);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/a b/c");
  EXPECT_EQ(request.query.at("x"), "1");
  EXPECT_EQ(request.query.at("name"), "J\xC3\xBCrgen K");
  EXPECT_EQ(request.query.at("flag"), "");
  EXPECT_EQ(request.header("content-type"), "a/b");
  EXPECT_TRUE(request.has_header("empty"));
  EXPECT_TRUE(request.keeps_connection);
}

TEST(HttpMessage, ConnectionEndsWhenAskedAndForHttp10) {
  EXPECT_FALSE(parse_head("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close", kLimits).keeps_connection);
  EXPECT_FALSE(parse_head("GET / HTTP/1.0", kLimits).keeps_connection);
}

TEST(HttpMessage, RefusesWhatIsNotARequest) {
  const std::string host = "\r\nHost: a";
  for (const std::string line :
       {"", "GET", "GET /", "GET  HTTP/1.1", "GET a HTTP/1.1", "GET http://a/ HTTP/1.1", "GET * HTTP/1.1",
        "G(T / HTTP/1.1", "GET / b HTTP/1.1", "GET /#f HTTP/1.1", "GET /%zz HTTP/1.1", "GET /%4 HTTP/1.1",
        "GET /%00 HTTP/1.1", "GET /?a=%g0 HTTP/1.1", "GET / FTP/1.1", "GET /\x01 HTTP/1.1"}) {
    EXPECT_EQ(head_status(line + host), 400) << line;
  }
  EXPECT_EQ(head_status("GET / HTTP/2.0" + host), 505);
  EXPECT_EQ(head_status("GET / HTTP/1.1"), 400) << "no Host";
  EXPECT_EQ(head_status("GET / HTTP/1.1" + host + host), 400) << "two Hosts";
}

TEST(HttpMessage, RefusesHeadersThatTwoProgramsReadDifferently) {
  for (const std::string header :
       {"Name", ": value", "Na me: v", "Name : v", " Folded: v", "A: b\nC: d", "A: b\rC: d", "A: \x7F"}) {
    EXPECT_EQ(head_status("GET / HTTP/1.1\r\nHost: a\r\n" + header), 400) << header;
  }
  EXPECT_EQ(head_status(std::string("GET / HTTP/1.1\r\nHost: a\r\nA: b") + '\0'), 400);
  EXPECT_EQ(head_status("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked"), 501);
  EXPECT_EQ(head_status("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked"),
            501);
}

TEST(HttpMessage, HoldsItsLimits) {
  EXPECT_EQ(head_status("GET /" + std::string(kLimits.max_target_bytes, 'a') + " HTTP/1.1\r\nHost: a"), 414);
  std::string many = "GET / HTTP/1.1\r\nHost: a";
  for (size_t i = 1; i < kLimits.max_headers; ++i) many += "\r\nA: b";
  EXPECT_EQ(head_status(many), 200);
  EXPECT_EQ(head_status(many + "\r\nA: b"), 431);
  EXPECT_EQ(head_status("GET / HTTP/1.1\r\nHost: a\r\nA: " + std::string(kLimits.max_head_bytes, 'b')), 431);
}

TEST(HttpMessage, ContentLengthIsOneNumberWithinTheLimit) {
  const auto status = [](const std::string& value) {
    const Request request = parse_head("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + value, kLimits);
    return status_of([&] { body_length(request, kLimits); });
  };
  EXPECT_EQ(status("0"), 200);
  EXPECT_EQ(status(std::to_string(kLimits.max_body_bytes)), 200);
  EXPECT_EQ(status(std::to_string(kLimits.max_body_bytes + 1)), 413);
  EXPECT_EQ(status("18446744073709551616"), 413);
  for (const char* value : {"", "-1", "+1", "1 2", "0x10", "1,1", "a", "1\r\nContent-Length: 1"})
    EXPECT_EQ(status(value), 400) << value;
}

TEST(HttpMessage, WritesResponses) {
  Response response;
  response.body = "hello";
  response.headers = {{"A", "b"}};
  EXPECT_EQ(
      to_text(response, true),
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\nA: b\r\n\r\nhello");
  response.status = 507;
  EXPECT_EQ(to_text(response, false, false),
            "HTTP/1.1 507 Insufficient Storage\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
            "5\r\nA: b\r\nConnection: close\r\n\r\n");
}

}  // namespace
}  // namespace phalanx::serve
