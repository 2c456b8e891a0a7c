#pragma once
#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// HTTP/1.1 messages (RFC 9112, RFC 9110) as text, without sockets.
namespace phalanx::serve {

/// Why a request is not answered as asked; becomes a response of that status.
class HttpError : public std::runtime_error {
 public:
  HttpError(int status, const std::string& message) : std::runtime_error(message), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

struct Request {
  std::string method;                                        ///< "GET", "POST", ... as sent
  std::string path;                                          ///< begins with '/', percent signs decoded
  std::map<std::string, std::string> query;                  ///< decoded; of a name given twice the first
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case, values trimmed
  std::string body;
  bool keeps_connection = true;  ///< HTTP/1.1 without "Connection: close"

  /// Of a header given twice the first; "" if it is absent.
  std::string_view header(std::string_view lower_case_name) const;
  bool has_header(std::string_view lower_case_name) const;
};

struct Response {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";  ///< Content-Type
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  ///< besides type, length and connection
};

struct MessageLimits {
  size_t max_head_bytes = 16 << 10;  ///< request line and headers
  size_t max_target_bytes = 4 << 10;
  size_t max_headers = 64;
  size_t max_body_bytes = 4 << 20;
};

/// Request line and headers, without the blank line at their end; the body is still to come. Strict, because
/// what two programs read differently can be smuggled past one of them: CRLF alone ends a line, no folded
/// lines, no blank before a colon, no control characters, one Host, a target that is a path.
/// @throws HttpError 400 (not such a message), 414, 431 (over a limit), 501 (Transfer-Encoding), 505.
Request parse_head(std::string_view head, const MessageLimits& limits);

/// What a server answered, without its body.
struct ResponseHead {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case, values trimmed

  std::string_view header(std::string_view lower_case_name) const;  ///< the first; "" if it is absent
  size_t count(std::string_view lower_case_name) const;
};

/// Status line and headers of a response, as strictly. @throws HttpError 502.
ResponseHead parse_response_head(std::string_view head, const MessageLimits& limits);

/// Bytes of body that the headers announce; 0 without Content-Length.
/// @throws HttpError 400 (not one number), 413 (over the limit).
size_t body_length(const Request& request, const MessageLimits& limits);

/// @throws HttpError 400 for "%" without two hexadecimal digits, and for a NUL.
std::string percent_decode(std::string_view text, bool plus_is_space);

/// Status line, headers and, unless the request was HEAD, the body.
std::string to_text(const Response& response, bool keeps_connection, bool has_body = true);

std::string_view reason_phrase(int status);

}  // namespace phalanx::serve
