#include "serve/http_server.h"

#include <gtest/gtest.h>

#include <chrono>
#include <list>

#include "core/error.h"
#include "serve/http_client.h"

namespace phalanx::serve {
namespace {

using test::Client;
using test::RunningServer;

Response echo(const Request& request) {
  if (request.path == "/storage") core::fail(core::ExitCode::kStorage, "the disk is full");
  if (request.path == "/bug") throw std::logic_error("secret detail");
  if (request.path == "/slow") std::this_thread::sleep_for(std::chrono::milliseconds(600));
  Response response;
  response.body = request.method + " " + request.path + " [" + request.body + "]";
  return response;
}

ServerOptions quick_options() {
  ServerOptions options;
  options.head_timeout_s = 0.4;
  options.body_timeout_s = 0.4;
  options.idle_timeout_s = 0.4;
  options.write_timeout_s = 0.4;
  options.limits.max_body_bytes = 1000;
  return options;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(HttpServer, AnswersSeveralRequestsOfOneConnectionEvenAtOnce) {
  RunningServer server(quick_options(), echo);
  Client client(server.port());
  client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(contains(client.receive_until("]"), "200 OK"));
  client.send(
      "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /c HTTP/1.1\r\nHost: "
      "x\r\nConnection: "
      "close\r\n\r\n");
  const std::string text = client.receive_to_end();
  EXPECT_TRUE(contains(text, "POST /b [hello]")) << text;
  EXPECT_TRUE(contains(text, "GET /c []")) << text;
  EXPECT_TRUE(contains(text, "(closed)")) << text;
}

TEST(HttpServer, HeadHasTheLengthAndNoBody) {
  RunningServer server(quick_options(), echo);
  Client client(server.port());
  client.send("HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string text = client.receive_to_end();
  EXPECT_TRUE(contains(text, "Content-Length: 9\r\n")) << text;
  EXPECT_FALSE(contains(text, "GET /a")) << text;
}

TEST(HttpServer, MessagesInPiecesAreOneMessage) {
  ServerOptions options = quick_options();
  options.head_timeout_s = options.body_timeout_s = 20;
  RunningServer server(options, echo);
  Client client(server.port());
  for (const char c : std::string("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz")) {
    client.send(std::string(1, c));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(contains(client.receive_until("]"), "POST /a [xyz]"));
}

TEST(HttpServer, BadMessagesGetTheirStatusAndTheConnectionEnds) {
  RunningServer server(quick_options(), echo);
  const std::pair<const char*, const char*> cases[] = {
      {"NONSENSE\r\n\r\n", " 400 "},
      {"GET / HTTP/1.1\r\n\r\n", " 400 "},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", " 413 "},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", " 413 "},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", " 400 "},
      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", " 501 "},
      {"POST / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\nContent-Length: 1\r\n\r\n", " 417 "},
  };
  for (const auto& [message, status] : cases) {
    Client client(server.port());
    client.send(message);
    const std::string text = client.receive_to_end();
    EXPECT_TRUE(contains(text, status)) << message << text;
    EXPECT_TRUE(contains(text, "Connection: close")) << text;
    EXPECT_TRUE(contains(text, "(closed)")) << text;
  }
}

TEST(HttpServer, EndlessHeadersAreCutOff) {
  RunningServer server(quick_options(), echo);
  Client client(server.port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n" + std::string(64 << 10, 'a'));
  EXPECT_TRUE(contains(client.receive_to_end(), " 431 "));
}

TEST(HttpServer, SlowClientsAreCutOffWhateverTheySend) {
  RunningServer server(quick_options(), echo);
  const auto start = std::chrono::steady_clock::now();
  Client head(server.port()), body(server.port()), idle(server.port());
  body.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
  for (int i = 0; i < 12; ++i) {  // a byte now and then for longer than the limit
    head.send("G");
    body.send("b");
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
  }
  EXPECT_TRUE(contains(head.receive_to_end(), " 408 "));
  EXPECT_TRUE(contains(body.receive_to_end(), " 408 "));
  EXPECT_EQ(idle.receive_to_end(), "(closed)");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(HttpServer, ExpectedContinueIsSent) {
  RunningServer server(quick_options(), echo);
  Client client(server.port());
  client.send("POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_TRUE(contains(client.receive_until("\r\n\r\n"), "100 Continue"));
  client.send("hi");
  EXPECT_TRUE(contains(client.receive_until("]"), "[hi]"));
}

TEST(HttpServer, OneConnectionTooManyIsTurnedAway) {
  ServerOptions options = quick_options();
  options.max_connections = 3;
  options.idle_timeout_s = 10;
  RunningServer server(options, echo);
  std::list<Client> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(server.port());
    clients.back().send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(contains(clients.back().receive_until("]"), "200"));
  }
  EXPECT_TRUE(contains(Client(server.port()).receive_to_end(), " 503 "));
  clients.clear();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  Client again(server.port());
  again.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(contains(again.receive_until("]"), "200"));
}

TEST(HttpServer, ErrorsOfTheHandlerBecomeStatuses) {
  RunningServer server(quick_options(), echo);
  Client client(server.port());
  client.send("GET /storage HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(contains(client.receive_until("full\n"), " 507 "));
  client.send("GET /bug HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string text = client.receive_to_end();
  EXPECT_TRUE(contains(text, " 500 ")) << text;
  EXPECT_FALSE(contains(text, "secret detail")) << text;
}

TEST(HttpServer, StoppingFinishesTheRequestInWork) {
  RunningServer server(quick_options(), echo);
  Client client(server.port()), idle(server.port());
  client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  server.stop();
  EXPECT_TRUE(contains(client.receive_to_end(), "GET /slow []"));
  EXPECT_EQ(idle.receive_to_end(), "(closed)");
  EXPECT_FALSE(Client(server.port()).is_connected());
}

TEST(HttpServer, TakenPortsAndForeignAddressesAreErrors) {
  HttpServer first(ServerOptions{});
  EXPECT_TRUE(first.is_loopback());
  const auto error_of = [](const std::string& host, uint16_t port) -> std::string {
    ServerOptions options;
    options.host = host;
    options.port = port;
    try {
      HttpServer server(options);
    } catch (const core::Error& error) {
      EXPECT_EQ(error.code(), core::ExitCode::kBadConfig);
      return error.what();
    }
    return "no error";
  };
  EXPECT_TRUE(contains(error_of("127.0.0.1", first.port()), "or 0 for any free one"));
  EXPECT_TRUE(contains(error_of("example.com", 0), "must be localhost or an IP address"));
  EXPECT_TRUE(contains(error_of("203.0.113.1", 0), "must be an address of this machine"));
  ServerOptions options;
  options.host = "0.0.0.0";
  EXPECT_FALSE(HttpServer(options).is_loopback());
}

}  // namespace
}  // namespace phalanx::serve
