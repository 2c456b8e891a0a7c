#include "serve/http_exchange.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"

namespace phalanx::serve {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

constexpr int kMaxInterimAnswers = 4;
constexpr size_t kMaxChunkLineBytes = 256;

SteadyTime after(double seconds) {
  return std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                std::chrono::duration<double>(seconds));
}

/// How long an exchange may go on.
struct Patience {
  SteadyTime end;
  const core::StopRequest& stop;
};

/// Waits until the socket can be read or written. @throws ExchangeError with `too_late` at the end of the
/// time; core::Stopped.
void wait_until_ready(int socket, short events, const Patience& patience, const char* too_late) {
  const int64_t longest = patience.stop ? static_cast<int64_t>(core::kStopPollSeconds * 1000) : 60000;
  while (true) {
    if (core::is_requested(patience.stop)) throw core::Stopped();
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(patience.end - std::chrono::steady_clock::now())
            .count();
    if (left < 0) throw ExchangeError(too_late, true);
    pollfd entry = {socket, events, 0};
    if (::poll(&entry, 1, static_cast<int>(std::min(left, longest)) + 1) > 0) return;
  }
}

class OwnedSocket {
 public:
  explicit OwnedSocket(int number) : number_(number) {}
  ~OwnedSocket() {
    if (number_ >= 0) ::close(number_);
  }
  OwnedSocket(OwnedSocket&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  OwnedSocket& operator=(OwnedSocket&&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

OwnedSocket connect_to(const addrinfo& address, const Patience& patience) {
  OwnedSocket socket(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int error = 0;
  if (socket.number() < 0 || ::connect(socket.number(), address.ai_addr, address.ai_addrlen) < 0)
    error = errno;
  if (error == EINPROGRESS) {
    wait_until_ready(socket.number(), POLLOUT, patience, "it cannot be reached in time");
    socklen_t size = sizeof error;
    ::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error != 0) throw ExchangeError(fmt::format("it cannot be reached: {}", std::strerror(error)), true);
  return socket;
}

OwnedSocket connect_to(const Url& url, const Patience& patience) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (code != 0) throw ExchangeError(fmt::format("its address is not known: {}", ::gai_strerror(code)), true);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
  std::string problem = "it has no address";
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    try {
      return connect_to(*address, patience);
    } catch (const ExchangeError& error) {
      problem = error.what();
    }
  }
  throw ExchangeError(problem, true);
}

/// What is said through a connected socket, up to a fixed time.
class Dialogue {
 public:
  Dialogue(int socket, Patience patience) : socket_(socket), patience_(patience) {}

  void send(std::string_view text) {
    while (!text.empty()) {
      wait_until_ready(socket_, POLLOUT, patience_, "it took the request too slowly");
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) continue;
      if (sent <= 0)
        throw ExchangeError(fmt::format("it broke the connection: {}", std::strerror(errno)), true);
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }

  /// What has come and was not taken.
  const std::string& bytes() const { return bytes_; }
  std::string take(size_t count) {
    std::string taken = bytes_.substr(0, count);
    bytes_.erase(0, count);
    return taken;
  }
  /// Waits for more. False at the end of the connection.
  bool receive() {
    wait_until_ready(socket_, POLLIN, patience_, "the answer did not come in time");
    char buffer[16 << 10];
    const ssize_t count = ::recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (count < 0)
      throw ExchangeError(fmt::format("it broke the connection: {}", std::strerror(errno)), true);
    bytes_.append(buffer, static_cast<size_t>(count));
    return count > 0;
  }
  /// Up to `mark`, which is taken, too.
  std::string take_until(std::string_view mark, size_t max_bytes, std::string_view what) {
    size_t searched = 0;
    while (true) {
      const size_t found = bytes_.find(mark, searched);
      if (std::min(found, bytes_.size()) > max_bytes)
        throw ExchangeError(fmt::format("{} is longer than {} bytes", what, max_bytes), false);
      if (found != std::string::npos) {
        std::string text = take(found);
        take(mark.size());
        return text;
      }
      searched = bytes_.size() < mark.size() ? 0 : bytes_.size() - mark.size() + 1;
      if (!receive()) throw ExchangeError(fmt::format("it closed the connection inside of {}", what), true);
    }
  }
  std::string take_exactly(size_t count) {
    while (bytes_.size() < count) {
      if (!receive()) throw ExchangeError("it closed the connection inside of the body", true);
    }
    return take(count);
  }

 private:
  int socket_;
  Patience patience_;
  std::string bytes_;
};

[[noreturn]] void wrong(const std::string& what) {
  throw ExchangeError(what, false);
}

ResponseHead receive_response_head(Dialogue& dialogue, const MessageLimits& limits) {
  for (int i = 0; i < kMaxInterimAnswers; ++i) {
    try {
      ResponseHead head =
          parse_response_head(dialogue.take_until("\r\n\r\n", limits.max_head_bytes, "the headers"), limits);
      if (head.status >= 200) return head;
    } catch (const HttpError& error) {
      wrong(error.what());
    }
  }
  wrong("it sends interim answers without end");
}

/// Chunks of a body (RFC 9112, 7.1), trailers included.
std::string receive_chunks(Dialogue& dialogue, const MessageLimits& limits) {
  std::string body;
  size_t overhead = 0;
  while (true) {
    const std::string line = dialogue.take_until("\r\n", kMaxChunkLineBytes, "the size of a chunk");
    const std::string_view digits = std::string_view(line).substr(0, line.find_first_of("; \t"));
    size_t size = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
    if (digits.empty() || digits[0] == '-' || error != std::errc() || end != digits.data() + digits.size() ||
        size > limits.max_body_bytes - body.size())
      wrong(fmt::format("the size of a chunk is no number, or too large: {}", core::printable(digits, 40)));
    if (size == 0) break;
    body += dialogue.take_exactly(size);
    if (dialogue.take_exactly(2) != "\r\n") wrong("a chunk is longer than it says");
    overhead += line.size();
    if (overhead > limits.max_body_bytes) wrong("the body has too many chunks");
  }
  for (size_t i = 0; i <= limits.max_headers; ++i) {
    if (dialogue.take_until("\r\n", limits.max_head_bytes, "a trailer").empty()) return body;
  }
  wrong("the body has too many trailers");
}

std::string receive_response_body(Dialogue& dialogue, const ResponseHead& head, const MessageLimits& limits) {
  const std::string_view coding = head.header("transfer-encoding"), length = head.header("content-length");
  if (!head.header("content-encoding").empty() && head.header("content-encoding") != "identity")
    wrong("the body is compressed, which was not asked for");
  if (head.status == 204 || head.status == 304) return {};
  if (head.count("transfer-encoding") > 0) {
    if (coding != "chunked" || head.count("transfer-encoding") > 1 || head.count("content-length") > 0)
      wrong("Transfer-Encoding must be chunked, without a Content-Length");
    return receive_chunks(dialogue, limits);
  }
  if (head.count("content-length") > 0) {
    size_t size = 0;
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), size);
    if (head.count("content-length") > 1 || length.empty() || error != std::errc() ||
        end != length.data() + length.size())
      wrong("Content-Length must be one number");
    if (size > limits.max_body_bytes)
      wrong(fmt::format("the body is larger than {} bytes", limits.max_body_bytes));
    std::string body = dialogue.take_exactly(size);
    if (!dialogue.bytes().empty()) wrong("the body is longer than its Content-Length");
    return body;
  }
  const auto check_size = [&] {
    if (dialogue.bytes().size() > limits.max_body_bytes)
      wrong(fmt::format("the body is larger than {} bytes", limits.max_body_bytes));
  };
  check_size();
  while (dialogue.receive()) check_size();
  return dialogue.take(dialogue.bytes().size());
}

Answer receive_answer(Dialogue& dialogue, const MessageLimits& limits) {
  Answer answer;
  answer.head = receive_response_head(dialogue, limits);
  answer.body = receive_response_body(dialogue, answer.head, limits);
  return answer;
}

bool is_one_line(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) != 0x7F;
  });
}

}  // namespace

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == 80 ? name : fmt::format("{}:{}", name, port);
}

Url parse_url(const std::string& text) {
  const auto refuse = [&](const char* why) {
    // Not the text itself where it may hold a password.
    const bool may_hold_secret = text.find('@') != std::string::npos;
    core::fail(core::ExitCode::kBadConfig, "the address {} {}; write http://HOST:PORT/PATH",
               may_hold_secret ? "with a user in it" : core::printable(text), why);
  };
  constexpr std::string_view kHttp = "http://";
  if (!text.starts_with(kHttp)) refuse("has another scheme than http");
  if (!is_one_line(text) || text.find_first_of(" #\\") != std::string::npos)
    refuse("has a blank, a fragment or a control character");
  const size_t slash = std::min(text.find_first_of("/?", kHttp.size()), text.size());
  std::string_view authority = std::string_view(text).substr(kHttp.size(), slash - kHttp.size());
  if (authority.find('@') != std::string_view::npos) refuse("names a user; credentials are given otherwise");
  Url url;
  if (slash < text.size()) url.target = (text[slash] == '?' ? "/" : "") + text.substr(slash);
  const size_t bracket = authority.starts_with('[') ? authority.find(']') : std::string_view::npos;
  const size_t colon = bracket == std::string_view::npos ? authority.find(':') : authority.find(':', bracket);
  const std::string_view host = authority.substr(0, colon);
  url.host = std::string(bracket == std::string_view::npos ? host : host.substr(1, bracket - 1));
  if (colon != std::string_view::npos) {
    const std::string_view port = authority.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port == 0)
      refuse("has no port after its colon");
  }
  if (url.host.empty() || (bracket != std::string_view::npos && host.size() != bracket + 1))
    refuse("has no host");
  return url;
}

Answer post_json(const Url& url, std::string_view json,
                 const std::vector<std::pair<std::string, std::string>>& headers,
                 const ExchangeOptions& options) {
  std::string head = fmt::format(
      "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
      "Accept: application/json\r\nAccept-Encoding: identity\r\nConnection: close\r\n",
      url.target, url.authority(), json.size());
  for (const auto& [name, value] : headers) {
    if (!is_one_line(name) || !is_one_line(value))
      throw std::invalid_argument("the value of header " + core::printable(name) + " is not one line");
    head += name + ": " + value + "\r\n";
  }
  const SteadyTime end = after(options.total_timeout_s);
  const OwnedSocket socket = connect_to(url, {std::min(end, after(options.connect_timeout_s)), options.stop});
  Dialogue dialogue(socket.number(), {end, options.stop});
  dialogue.send(head + "\r\n");
  dialogue.send(json);
  return receive_answer(dialogue, options.limits);
}

Answer receive_answer(int socket, const ExchangeOptions& options) {
  Dialogue dialogue(socket, {after(options.total_timeout_s), options.stop});
  return receive_answer(dialogue, options.limits);
}

}  // namespace phalanx::serve
