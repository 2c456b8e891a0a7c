#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "serve/http_server.h"

namespace phalanx::serve::test {

/// A socket to the server under test.
class Client {
 public:
  explicit Client(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool is_connected() const { return is_connected_; }
  void send(const std::string& text) { ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL); }

  /// Reads until the text has `end`, the server closes, or the time is over.
  std::string receive_until(const std::string& end, double limit_s = 10) {
    std::string text;
    while (text.find(end) == std::string::npos) {
      pollfd entry = {socket_, POLLIN, 0};
      if (::poll(&entry, 1, static_cast<int>(limit_s * 1000)) <= 0) return text + "(nothing more came)";
      char buffer[4096];
      const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
      if (count <= 0) return text + "(closed)";
      text.append(buffer, static_cast<size_t>(count));
    }
    return text;
  }
  std::string receive_to_end(double limit_s = 10) { return receive_until("\x01never", limit_s); }

 private:
  int socket_;
  bool is_connected_;
};

/// A server that runs in a thread of its own until the end of the scope.
class RunningServer {
 public:
  RunningServer(const ServerOptions& options, Handler handler)
      : server_(options), thread_([this, handler = std::move(handler)] {
          server_.run(handler, [this] { return stops_.load(); });
        }) {}
  ~RunningServer() { stop(); }
  void stop() {
    stops_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint16_t port() const { return server_.port(); }

 private:
  HttpServer server_;
  std::atomic<bool> stops_ = false;
  std::thread thread_;
};

}  // namespace phalanx::serve::test
