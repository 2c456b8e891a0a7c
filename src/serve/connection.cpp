#include "serve/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

#include "core/error.h"
#include "core/log.h"

namespace phalanx::serve {
namespace {

using Clock = std::chrono::steady_clock;

/// The peer is gone, or said nothing for too long: the connection ends without an answer.
struct ConnectionEnded {};

class Deadline {
 public:
  explicit Deadline(double seconds)
      : end_(Clock::now() +
             std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {}
  int left_ms() const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now()).count();
    return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
  }

 private:
  Clock::time_point end_;
};

/// Waits until the socket can be read or written; false when the time is over.
bool wait_for(int socket, short events, const Deadline& deadline) {
  while (true) {
    pollfd entry = {socket, events, 0};
    const int ready = ::poll(&entry, 1, deadline.left_ms());
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

/// The bytes of a connection that have come and are not used yet.
class Inbox {
 public:
  explicit Inbox(int socket) : socket_(socket) {}

  const std::string& bytes() const { return bytes_; }
  std::string take(size_t count) {
    std::string taken = bytes_.substr(0, count);
    bytes_.erase(0, count);
    return taken;
  }
  /// Waits for more. False when the time is over; @throws ConnectionEnded.
  bool receive(const Deadline& deadline) {
    if (!wait_for(socket_, POLLIN, deadline)) return false;
    char buffer[16 << 10];
    const ssize_t count = ::recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (count <= 0) throw ConnectionEnded();
    bytes_.append(buffer, static_cast<size_t>(count));
    return true;
  }

 private:
  int socket_;
  std::string bytes_;
};

/// Request line and headers of the next request, without the blank line.
std::string receive_head(Inbox& inbox, const ServerOptions& options) {
  if (inbox.bytes().empty() && !inbox.receive(Deadline(options.idle_timeout_s))) throw ConnectionEnded();
  const Deadline deadline(options.head_timeout_s);
  size_t searched = 0;
  while (true) {
    const size_t end = inbox.bytes().find("\r\n\r\n", searched);
    if (std::min(end, inbox.bytes().size()) > options.limits.max_head_bytes)
      throw HttpError(431, "the headers are too long");
    if (end != std::string::npos) {
      std::string head = inbox.take(end);
      inbox.take(4);
      return head;
    }
    searched = inbox.bytes().size() < 3 ? 0 : inbox.bytes().size() - 3;
    if (!inbox.receive(deadline)) throw HttpError(408, "the headers did not come in time");
  }
}

void receive_body(Inbox& inbox, int socket, const ServerOptions& options, Request& request) {
  const size_t length = body_length(request, options.limits);
  if (request.has_header("expect")) {
    if (request.header("expect") != "100-continue") throw HttpError(417, "only 100-continue can be expected");
    if (!send_all(socket, "HTTP/1.1 100 Continue\r\n\r\n", options.write_timeout_s)) throw ConnectionEnded();
  }
  const Deadline deadline(options.body_timeout_s);
  while (inbox.bytes().size() < length) {
    if (!inbox.receive(deadline)) throw HttpError(408, "the body did not come in time");
  }
  request.body = inbox.take(length);
}

Response error_response(int status, const std::string& message) {
  Response response;
  response.status = status;
  response.body = message + "\n";
  return response;
}

/// Reads what the peer still sends for a moment, so that closing does not reset the connection before it has
/// read the answer.
void drain(int socket) {
  ::shutdown(socket, SHUT_WR);
  const Deadline deadline(0.5);
  Inbox inbox(socket);
  try {
    for (size_t total = 0; total < (1 << 20) && inbox.receive(deadline);)
      total += inbox.take(inbox.bytes().size()).size();
  } catch (const ConnectionEnded&) {
  }
}

/// One request and its answer; false when the connection is to be closed.
bool serve_one(int socket, Inbox& inbox, const ServerOptions& options, const Handler& handler,
               const std::atomic<bool>& stops) {
  try {
    Request request = parse_head(receive_head(inbox, options), options.limits);
    receive_body(inbox, socket, options, request);
    const bool is_head = request.method == "HEAD";
    if (is_head) request.method = "GET";
    const Response response = answer(handler, request);
    const bool keeps = request.keeps_connection && !stops;
    return send_all(socket, to_text(response, keeps, !is_head), options.write_timeout_s) && keeps;
  } catch (const HttpError& error) {  // not a request: where the next would begin is not known
    send_all(socket, to_text(error_response(error.status(), error.what()), false), options.write_timeout_s);
    drain(socket);
    return false;
  }
}

}  // namespace

void serve_connection(int socket, const ServerOptions& options, const Handler& handler,
                      const std::atomic<bool>& stops) {
  try {
    Inbox inbox(socket);
    while (!stops && serve_one(socket, inbox, options, handler, stops)) {
    }
  } catch (const ConnectionEnded&) {
  }
}

bool send_all(int socket, std::string_view text, double timeout_s) {
  const Deadline deadline(timeout_s);
  while (!text.empty()) {
    if (!wait_for(socket, POLLOUT, deadline)) return false;
    const ssize_t sent = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) continue;
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

Response answer(const Handler& handler, const Request& request) {
  try {
    return handler(request);
  } catch (const HttpError& error) {
    return error_response(error.status(), error.what());
  } catch (const core::Error& error) {
    core::log_warning("{}", error.what());
    return error_response(error.code() == core::ExitCode::kStorage ? 507 : 500, error.what());
  } catch (const std::exception& error) {
    core::log_warning("{} {}: {}", request.method, core::printable(request.path, 80), error.what());
    return error_response(500, "the program made a mistake; its terminal says which");
  }
}

}  // namespace phalanx::serve
