#pragma once
#include <optional>
#include <string>
#include <vector>

#include "serve/http_message.h"

namespace phalanx::serve {

/// Who may ask. Three doors, each closed to a page of another site that the user's browser has open:
///  - Host must be an IP address, localhost or one of `host_names`: a foreign name that was made to point
///  here
///    (DNS rebinding) is refused with 421;
///  - a request with an Origin must come from a page of this server, and what changes something (not GET)
///  must
///    be JSON, which no form of another site can send: 403 and 415;
///  - where a token is set, it must be there: as cookie, "Authorization: Bearer", or once as ?token= of a
///  GET,
///    which is answered with the cookie and a redirect that takes it out of the address bar: 401.
class Access {
 public:
  struct Options {
    std::string token;                    ///< empty: none is asked for
    std::vector<std::string> host_names;  ///< besides localhost
    std::string cookie = "phalanx_token";
  };
  explicit Access(Options options) : options_(std::move(options)) {}

  /// Nothing: let it in. Else the answer (the redirect). @throws HttpError.
  std::optional<Response> check(const Request& request) const;

 private:
  void check_host(const Request& request) const;
  void check_origin(const Request& request) const;
  std::optional<Response> check_token(const Request& request) const;
  Options options_;
};

/// 256 random bits of the operating system, as 64 hexadecimal digits. @throws core::Error (70).
std::string make_token();

/// Equality in a time that depends on the length of `given` alone.
bool constant_time_equal(std::string_view given, std::string_view expected);

}  // namespace phalanx::serve
