#include "serve/access.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include "core/error.h"

namespace phalanx::serve {
namespace {

/// HOST of "HOST:PORT", "[IPv6]:PORT" or either without a port.
std::string host_of(std::string_view host) {
  if (host.starts_with('[')) return std::string(host.substr(1, host.find(']') - 1));
  return std::string(host.substr(0, host.find(':')));
}

bool is_ip_address(const std::string& host) {
  in6_addr ignored;
  return ::inet_pton(AF_INET, host.c_str(), &ignored) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

std::string_view cookie_of(const Request& request, std::string_view name) {
  std::string_view rest = request.header("cookie");
  while (!rest.empty()) {
    std::string_view one = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    one.remove_prefix(std::min(one.find_first_not_of(' '), one.size()));
    if (one.starts_with(name) && one.substr(name.size()).starts_with('=')) return one.substr(name.size() + 1);
  }
  return {};
}

/// Only what may stand in any part of a target stays as it is.
std::string percent_encode(std::string_view text, std::string_view also_kept) {
  std::string encoded;
  for (const char c : text) {
    const bool is_kept = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                         std::string_view("-._~").find(c) != std::string_view::npos ||
                         also_kept.find(c) != std::string_view::npos;
    encoded += is_kept ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

/// The request's own target without its token. One slash at the start: two would name another host.
std::string target_without_token(const Request& request) {
  const size_t begin = std::min(request.path.find_first_not_of('/'), request.path.size());
  std::string target = "/" + percent_encode(std::string_view(request.path).substr(begin), "/");
  char separator = '?';
  for (const auto& [name, value] : request.query) {
    if (name == "token") continue;
    target += fmt::format("{}{}={}", separator, percent_encode(name, ""), percent_encode(value, ""));
    separator = '&';
  }
  return target;
}

}  // namespace

std::optional<Response> Access::check(const Request& request) const {
  check_host(request);
  check_origin(request);
  return check_token(request);
}

void Access::check_host(const Request& request) const {
  const std::string host = host_of(request.header("host"));
  const auto& names = options_.host_names;
  if (is_ip_address(host) || host == "localhost" ||
      std::find(names.begin(), names.end(), host) != names.end())
    return;
  throw HttpError(421, fmt::format("this server is not called {}; open the address that it printed",
                                   core::printable(host, 60)));
}

void Access::check_origin(const Request& request) const {
  const std::string_view origin = request.header("origin"), host = request.header("host");
  const bool is_own = origin == fmt::format("http://{}", host) || origin == fmt::format("https://{}", host);
  if ((request.has_header("origin") && !is_own) || request.header("sec-fetch-site") == "cross-site")
    throw HttpError(403, "a page of another site may not ask this server");
  if (request.method != "GET" && !request.header("content-type").starts_with("application/json"))
    throw HttpError(415, "the body must be application/json");
}

std::optional<Response> Access::check_token(const Request& request) const {
  if (options_.token.empty()) return std::nullopt;
  const std::string_view bearer = request.header("authorization");
  const auto in_query = request.query.find("token");
  if (request.method == "GET" && in_query != request.query.end() &&
      constant_time_equal(in_query->second, options_.token)) {
    Response redirect;
    redirect.status = 303;
    redirect.headers = {{"Location", target_without_token(request)},
                        {"Set-Cookie", fmt::format("{}={}; HttpOnly; SameSite=Strict; Path=/",
                                                   options_.cookie, options_.token)}};
    return redirect;
  }
  if (constant_time_equal(cookie_of(request, options_.cookie), options_.token)) return std::nullopt;
  if (bearer.starts_with("Bearer ") && constant_time_equal(bearer.substr(7), options_.token))
    return std::nullopt;
  throw HttpError(401, "open the whole address that the program printed, with its token");
}

std::string make_token() {
  std::array<unsigned char, 32> bytes = {};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    core::fail(core::ExitCode::kBug, "the operating system gives no random numbers");
  std::string token;
  for (const unsigned char byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

bool constant_time_equal(std::string_view given, std::string_view expected) {
  unsigned difference = given.size() == expected.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const char other = expected.empty() ? '\0' : expected[i % expected.size()];
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(other));
  }
  return difference == 0;
}

}  // namespace phalanx::serve
