#include "serve/http_server.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <list>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "serve/connection.h"

namespace phalanx::serve {
namespace {

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(sockaddr_storage);
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Address resolve(const std::string& host, uint16_t port) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string numeric = host == "localhost" ? "127.0.0.1" : host;
  if (::getaddrinfo(numeric.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    core::fail(core::ExitCode::kBadConfig,
               "--host {}: must be localhost or an IP address of this machine; 0.0.0.0 is all of them",
               core::printable(host, 60));
  }
  Address address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return address;
}

bool names_loopback(const Address& address) {
  if (address.storage.ss_family == AF_INET) {
    const auto& ip = reinterpret_cast<const sockaddr_in&>(address.storage);
    return ntohl(ip.sin_addr.s_addr) >> 24 == 127;
  }
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr);
}

[[noreturn]] void refuse_address(const ServerOptions& options, int error) {
  if (error == EADDRINUSE) {
    core::fail(core::ExitCode::kBadConfig,
               "--port {}: another program listens there; name another port, or 0 for any free one",
               options.port);
  }
  core::fail(
      core::ExitCode::kBadConfig,
      "--host {} --port {}: cannot be listened on: {}; ports below 1024 are for root, and the host must "
      "be an address of this machine",
      core::printable(options.host, 60), options.port, std::generic_category().message(error));
}

int listen_on(const Address& address, const ServerOptions& options) {
  const int socket = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int yes = 1;
  if (socket >= 0) ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (socket < 0 || ::bind(socket, address.get(), address.size) != 0 || ::listen(socket, 64) != 0) {
    const int error = errno;
    if (socket >= 0) ::close(socket);
    refuse_address(options, error);
  }
  return socket;
}

}  // namespace

struct HttpServer::State {
  /// A socket with the thread that serves it.
  struct Connection {
    int socket = -1;
    std::atomic<bool> is_done = false;
    std::thread thread = {};
  };

  ServerOptions options;
  int listener = -1;
  bool is_loopback = false;
  uint16_t port = 0;
  std::atomic<bool> stops = false;
  std::list<Connection> connections = {};

  void accept_one(const Handler& handler) {
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) {  // gone again, or no descriptor left: not a reason to end, nor to spin
      if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(std::chrono::milliseconds(100));
      return;
    }
    const int yes = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (static_cast<int>(connections.size()) >= options.max_connections) {
      Response busy;
      busy.status = 503;
      busy.body = "too many connections; try again\n";
      send_all(socket, to_text(busy, false), 0);
      ::close(socket);
      return;
    }
    Connection& connection = connections.emplace_back();
    connection.socket = socket;
    connection.thread = std::thread([this, &connection, &handler] {
      serve_connection(connection.socket, options, handler, stops);
      ::shutdown(connection.socket, SHUT_RDWR);
      connection.is_done = true;
    });
  }

  void join_ended() {
    connections.remove_if([](Connection& connection) {
      if (!connection.is_done) return false;
      end(connection);
      return true;
    });
  }

  void stop() {
    stops = true;
    for (Connection& connection : connections) ::shutdown(connection.socket, SHUT_RD);  // wakes who waits
    for (Connection& connection : connections) end(connection);
    connections.clear();
  }

  static void end(Connection& connection) {
    connection.thread.join();
    ::close(connection.socket);
  }
};

HttpServer::HttpServer(ServerOptions options) : state_(new State{std::move(options)}) {
  Address address = resolve(state_->options.host, state_->options.port);
  state_->is_loopback = names_loopback(address);
  state_->listener = listen_on(address, state_->options);
  address.size = sizeof address.storage;
  ::getsockname(state_->listener, address.get(), &address.size);
  state_->port = ntohs(reinterpret_cast<const sockaddr_in&>(address.storage).sin_port);  // as in sockaddr_in6
}

HttpServer::~HttpServer() {
  ::close(state_->listener);
}

uint16_t HttpServer::port() const {
  return state_->port;
}
bool HttpServer::is_loopback() const {
  return state_->is_loopback;
}

void HttpServer::run(const Handler& handler, const std::function<bool()>& should_stop) {
  while (!should_stop()) {
    pollfd entry = {state_->listener, POLLIN, 0};
    if (::poll(&entry, 1, 100) > 0) state_->accept_one(handler);
    state_->join_ended();
  }
  state_->stop();
}

}  // namespace phalanx::serve
