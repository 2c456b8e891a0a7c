#include "serve/http_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace phalanx::serve {
namespace {

/// RFC 9110, 5.6.2: what names of methods and headers are made of.
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7F;
  });
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

/// Takes the next line, which CRLF or the end of the text ends.
std::string_view take_line(std::string_view& text) {
  const size_t end = text.find("\r\n");
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
  if (has_control(line)) throw HttpError(400, "a control character, or a line that does not end with CRLF");
  return line;
}

std::map<std::string, std::string> parse_query(std::string_view text) {
  std::map<std::string, std::string> query;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (pair.empty()) continue;
    query.emplace(percent_decode(pair.substr(0, equals), true),
                  equals == std::string_view::npos ? "" : percent_decode(pair.substr(equals + 1), true));
  }
  return query;
}

void parse_request_line(std::string_view line, const MessageLimits& limits, Request& request) {
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    throw HttpError(400, "the request line is not METHOD TARGET VERSION");
  request.method = std::string(line.substr(0, first));
  if (!is_token(request.method)) throw HttpError(400, "the method is not a word");
  const std::string_view target = line.substr(first + 1, last - first - 1), version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    throw HttpError(version.starts_with("HTTP/") ? 505 : 400, "the version must be HTTP/1.1 or HTTP/1.0");
  }
  request.keeps_connection = version == "HTTP/1.1";
  if (target.size() > limits.max_target_bytes) throw HttpError(414, "the target is too long");
  if (!target.starts_with('/') || target.find_first_of(" #") != std::string_view::npos)
    throw HttpError(400, "the target must be a path");
  const size_t question = target.find('?');
  request.path = percent_decode(target.substr(0, question), false);
  if (question != std::string_view::npos) request.query = parse_query(target.substr(question + 1));
}

using Headers = std::vector<std::pair<std::string, std::string>>;

void parse_header(std::string_view line, Headers& headers) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    throw HttpError(400, "a header is not NAME: VALUE");
  headers.emplace_back(lower_case(line.substr(0, colon)), std::string(trimmed(line.substr(colon + 1))));
}

size_t count_headers(const Headers& headers, std::string_view name) {
  return static_cast<size_t>(std::count_if(headers.begin(), headers.end(),
                                           [&](const auto& header) { return header.first == name; }));
}

std::string_view first_header(const Headers& headers, std::string_view name) {
  for (const auto& [known, value] : headers) {
    if (known == name) return value;
  }
  return {};
}

int parse_status_line(std::string_view line) {
  const std::string_view version = line.substr(0, line.find(' '));
  const std::string_view code = line.substr(std::min(line.size(), version.size() + 1)).substr(0, 3);
  const bool is_code = code.size() == 3 && code.find_first_not_of("0123456789") == std::string_view::npos &&
                       code[0] >= '1' && code[0] <= '5';
  const size_t end = version.size() + 4;
  if ((version != "HTTP/1.1" && version != "HTTP/1.0") || !is_code || (end < line.size() && line[end] != ' '))
    throw HttpError(502, "the answer is not HTTP/1.1");
  return (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string_view Request::header(std::string_view lower_case_name) const {
  return first_header(headers, lower_case_name);
}

bool Request::has_header(std::string_view lower_case_name) const {
  return count_headers(headers, lower_case_name) > 0;
}

std::string_view ResponseHead::header(std::string_view lower_case_name) const {
  return first_header(headers, lower_case_name);
}

size_t ResponseHead::count(std::string_view lower_case_name) const {
  return count_headers(headers, lower_case_name);
}

Request parse_head(std::string_view head, const MessageLimits& limits) {
  if (head.size() > limits.max_head_bytes) throw HttpError(431, "the headers are too long");
  Request request;
  const bool is_1_1 = (parse_request_line(take_line(head), limits, request), request.keeps_connection);
  while (!head.empty()) {
    if (request.headers.size() == limits.max_headers) throw HttpError(431, "too many headers");
    parse_header(take_line(head), request.headers);
  }
  if (count_headers(request.headers, "host") > 1 || (is_1_1 && !request.has_header("host")))
    throw HttpError(400, "exactly one Host is needed");
  if (request.has_header("transfer-encoding"))
    throw HttpError(501, "Transfer-Encoding is not taken; send Content-Length");
  if (lower_case(request.header("connection")) == "close") request.keeps_connection = false;
  return request;
}

ResponseHead parse_response_head(std::string_view head, const MessageLimits& limits) {
  if (head.size() > limits.max_head_bytes) throw HttpError(502, "the headers of the answer are too long");
  ResponseHead response;
  try {
    response.status = parse_status_line(take_line(head));
    while (!head.empty()) {
      if (response.headers.size() == limits.max_headers) throw HttpError(502, "too many headers");
      parse_header(take_line(head), response.headers);
    }
  } catch (const HttpError& error) {
    throw HttpError(502, error.what());
  }
  return response;
}

size_t body_length(const Request& request, const MessageLimits& limits) {
  if (!request.has_header("content-length")) return 0;
  const std::string_view text = request.header("content-length");
  size_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  const bool is_digits = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  if (count_headers(request.headers, "content-length") > 1 || !is_digits)
    throw HttpError(400, "Content-Length must be one number");
  if (error == std::errc::result_out_of_range || length > limits.max_body_bytes) {
    throw HttpError(413, fmt::format("the body is larger than {} bytes", limits.max_body_bytes));
  }
  return length;
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      decoded += ' ';
    } else if (text[i] == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0 || high * 16 + low == 0)
        throw HttpError(400, "a percent sign in the target without two hexadecimal digits, or a NUL");
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

std::string_view reason_phrase(int status) {
  static const std::map<int, std::string_view> phrases = {
      {200, "OK"},
      {303, "See Other"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {415, "Unsupported Media Type"},
      {417, "Expectation Failed"},
      {421, "Misdirected Request"},
      {422, "Unprocessable Content"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
      {505, "HTTP Version Not Supported"},
      {507, "Insufficient Storage"},
  };
  const auto found = phrases.find(status);
  return found == phrases.end() ? "Status" : found->second;
}

std::string to_text(const Response& response, bool keeps_connection, bool has_body) {
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n", response.status,
                  reason_phrase(response.status), response.type, response.body.size());
  for (const auto& [name, value] : response.headers) text += fmt::format("{}: {}\r\n", name, value);
  text += keeps_connection ? "\r\n" : "Connection: close\r\n\r\n";
  return has_body ? text + response.body : text;
}

}  // namespace phalanx::serve
