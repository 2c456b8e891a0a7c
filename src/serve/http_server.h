#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "serve/http_message.h"

namespace phalanx::serve {

/// Answers one request. Called from several threads at once. HttpError becomes its status, a core::Error of
/// the storage 507, any other exception 500; their words go to the client as text.
using Handler = std::function<Response(const Request&)>;

struct ServerOptions {
  std::string host = "127.0.0.1";  ///< an IP address, or "localhost"
  uint16_t port = 0;               ///< 0: any free one
  int max_connections = 64;        ///< one more is answered 503 and closed
  double head_timeout_s = 10;  ///< for all of request line and headers, so that a byte a second does not help
  double body_timeout_s = 30;
  double idle_timeout_s = 60;  ///< between two requests of a connection
  double write_timeout_s = 30;
  MessageLimits limits = {};
};

/// HTTP/1.1 over TCP, a thread for each connection, keep-alive. HEAD is answered as GET without the body.
class HttpServer {
 public:
  /// Listens from now on. @throws core::Error (78) for a host that is no address of this machine or a port
  /// that is taken.
  explicit HttpServer(ServerOptions options);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;     ///< the one that is listened on
  bool is_loopback() const;  ///< can only this machine connect?

  /// Serves until `should_stop` (asked ten times a second, and after each signal) is true. Requests that are
  /// being answered then are answered; all threads have ended when it returns.
  void run(const Handler& handler, const std::function<bool()>& should_stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace phalanx::serve
