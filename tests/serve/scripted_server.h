#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace phalanx::serve::test {

/// A server that reads one request from each connection and then does what it is told with the socket,
/// however wrong; in a thread of its own for each connection, until the end of the scope.
class ScriptedServer {
 public:
  /// @param act  gets the socket, the whole request and the number of the connection, from 0
  using Act = std::function<void(int socket, const std::string& request, int number)>;

  explicit ScriptedServer(Act act) : act_(std::move(act)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_, 64);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { accept_all(); });
  }
  ~ScriptedServer() {
    stops_ = true;
    thread_.join();
    for (std::thread& connection : connections_) connection.join();
    ::close(listener_);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  /// Answers with these bytes and closes.
  static Act bytes(std::string answer) {
    return [answer](int socket, const std::string&, int) { send(socket, answer); };
  }
  static std::string with_length(int status, const std::string& body, const std::string& headers = "") {
    return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static bool send(int socket, const std::string& text) {
    return ::send(socket, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }

  /// Breaks the connection: what was not read is lost.
  static void reset(int socket) {
    const sockaddr nobody = {.sa_family = AF_UNSPEC, .sa_data = {}};
    ::connect(socket, &nobody, sizeof nobody);
  }

  uint16_t port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1/chat/completions"; }
  bool stops() const { return stops_; }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void accept_all() {
    for (int number = 0; !stops_;) {
      pollfd entry = {listener_, POLLIN, 0};
      if (::poll(&entry, 1, 20) <= 0) continue;
      const int socket = ::accept(listener_, nullptr, nullptr);
      if (socket >= 0) connections_.emplace_back([this, socket, n = number++] { answer(socket, n); });
    }
  }

  void answer(int socket, int number) {
    std::string request;
    while (!is_whole(request) && !stops_) {
      pollfd entry = {socket, POLLIN, 0};
      if (::poll(&entry, 1, 20) <= 0) continue;
      char buffer[4096];
      const ssize_t count = ::recv(socket, buffer, sizeof buffer, 0);
      if (count <= 0) break;
      request.append(buffer, static_cast<size_t>(count));
    }
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    act_(socket, request, number);
    ::shutdown(socket, SHUT_WR);
    ::close(socket);
  }

  static bool is_whole(const std::string& request) {
    const size_t head = request.find("\r\n\r\n"), field = request.find("Content-Length: ");
    return head != std::string::npos && request.size() >= head + 4 + std::stoul(request.substr(field + 16));
  }

  Act act_;
  int listener_;
  uint16_t port_ = 0;
  std::atomic<bool> stops_ = false;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<std::thread> connections_;
  std::thread thread_;
};

}  // namespace phalanx::serve::test
