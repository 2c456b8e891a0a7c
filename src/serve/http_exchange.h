#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/stop.h"
#include "serve/http_message.h"

/// The other end of HTTP/1.1: one request to somebody else's server, which may send anything.
namespace phalanx::serve {

struct Url {
  std::string host;  ///< a name, an IPv4 address, or an IPv6 address without its brackets
  uint16_t port = 80;
  std::string target = "/";       ///< path and query
  std::string authority() const;  ///< for Host
};

/// http://HOST[:PORT][/PATH]. @throws core::Error (78) for another scheme (https among them: put a proxy on
/// this machine in front), a user or password in it, a control character or blank, a fragment.
Url parse_url(const std::string& text);

struct ExchangeOptions {
  double connect_timeout_s = 5;
  double total_timeout_s = 60;  ///< from connecting to the last byte of the body
  MessageLimits limits = {.max_body_bytes = 64 << 20};
  core::StopRequest stop = {};
};

/// Why there is no answer.
class ExchangeError : public std::runtime_error {
 public:
  ExchangeError(const std::string& message, bool may_pass)
      : std::runtime_error(message), may_pass_(may_pass) {}
  bool may_pass() const { return may_pass_; }  ///< trying again may help: no connection, no answer in time

 private:
  bool may_pass_;
};

struct Answer {
  ResponseHead head;
  std::string body;
};

/// Posts JSON on a connection of its own. Follows no redirect, takes no compressed body, and none that is
/// longer or shorter than it says. @param headers  besides Host, Content-Type, Content-Length,
/// Accept-Encoding and Connection. @throws ExchangeError; std::invalid_argument for a header that would not
/// stay one line; core::Stopped when options.stop asks for it.
Answer post_json(const Url& url, std::string_view json,
                 const std::vector<std::pair<std::string, std::string>>& headers,
                 const ExchangeOptions& options);

/// The part that reads: an answer from a connected socket. @throws ExchangeError.
Answer receive_answer(int socket, const ExchangeOptions& options);

}  // namespace phalanx::serve
