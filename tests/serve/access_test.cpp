#include "serve/access.h"

#include <gtest/gtest.h>

namespace phalanx::serve {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

Request make_request(const std::string& method, const Headers& headers) {
  Request request;
  request.method = method;
  request.path = "/";
  request.headers = headers;
  return request;
}

/// 200: let in.
int status_for(const Access& access, const Request& request) {
  try {
    const auto response = access.check(request);
    return response ? response->status : 200;
  } catch (const HttpError& error) {
    return error.status();
  }
}

TEST(Access, ForeignHostNamesAreRefused) {
  const Access access({"", {"workstation"}});
  for (const char* host : {"127.0.0.1:8765", "localhost:8765", "localhost", "[::1]:8765", "[::1]",
                           "192.168.1.7:1", "workstation:8765"})
    EXPECT_EQ(status_for(access, make_request("GET", {{"host", host}})), 200) << host;
  for (const char* host : {"evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example:8765", "",
                           "[::1.evil.example]", "workstation.evil.example"})
    EXPECT_EQ(status_for(access, make_request("GET", {{"host", host}})), 421) << host;
}

TEST(Access, PagesOfOtherSitesAreRefused) {
  const Access access({});
  const auto post = [&](Headers headers) {
    headers.insert(headers.begin(), {"host", "localhost:8765"});
    return status_for(access, make_request("POST", headers));
  };
  const std::pair<std::string, std::string> json = {"content-type", "application/json"};
  EXPECT_EQ(post({json}), 200);
  EXPECT_EQ(post({json, {"origin", "http://localhost:8765"}}), 200);
  EXPECT_EQ(post({json, {"origin", "http://localhost:9999"}}), 403);
  EXPECT_EQ(post({json, {"origin", "http://evil.example"}}), 403);
  EXPECT_EQ(post({json, {"origin", "null"}}), 403);
  EXPECT_EQ(post({json, {"sec-fetch-site", "cross-site"}}), 403);
  EXPECT_EQ(post({{"content-type", "text/plain"}}), 415);
  EXPECT_EQ(post({}), 415);
}

TEST(Access, TokenIsNeededInCookieOrHeader) {
  const std::string token = make_token();
  const Access access({token, {}, "tok"});
  const auto get = [&](Headers headers) {
    headers.insert(headers.begin(), {"host", "10.0.0.1"});
    return status_for(access, make_request("GET", headers));
  };
  EXPECT_EQ(get({}), 401);
  EXPECT_EQ(get({{"cookie", "a=b; tok=" + token}}), 200);
  EXPECT_EQ(get({{"cookie", "xtok=" + token}}), 401);
  EXPECT_EQ(get({{"cookie", "tok=" + token.substr(1)}}), 401);
  EXPECT_EQ(get({{"cookie", "tok="}}), 401);
  EXPECT_EQ(get({{"authorization", "Bearer " + token}}), 200);
  EXPECT_EQ(get({{"authorization", "Bearer " + token + "0"}}), 401);
}

TEST(Access, TokenInTheAddressBecomesACookie) {
  const Access access({"secret", {}, "tok"});
  Request request = make_request("GET", {{"host", "10.0.0.1"}});
  request.path = "//evil.example/a\r\nB: c";
  request.query = {{"labeller", "J\xC3\xBC g"}, {"token", "secret"}};
  const auto response = access.check(request);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 303);
  EXPECT_EQ(response->headers[0].second, "/evil.example/a%0D%0AB%3A%20c?labeller=J%C3%BC%20g");
  EXPECT_EQ(response->headers[1].second, "tok=secret; HttpOnly; SameSite=Strict; Path=/");
  request.query["token"] = "secreT";
  EXPECT_EQ(status_for(access, request), 401);
  request.query["token"] = "secret";
  request.method = "POST";
  request.headers.emplace_back("content-type", "application/json");
  EXPECT_EQ(status_for(access, request), 401);
}

TEST(Access, TokensAreLongAndDiffer) {
  EXPECT_EQ(make_token().size(), 64u);
  EXPECT_NE(make_token(), make_token());
}

TEST(Access, ConstantTimeEqualIsEquality) {
  EXPECT_TRUE(constant_time_equal("abc", "abc"));
  EXPECT_TRUE(constant_time_equal("", ""));
  for (const char* given : {"", "ab", "abcd", "abd", "abcabc"})
    EXPECT_FALSE(constant_time_equal(given, "abc"));
  EXPECT_FALSE(constant_time_equal("a", ""));
}

}  // namespace
}  // namespace phalanx::serve
