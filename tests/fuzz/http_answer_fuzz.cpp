#include <sys/socket.h>
#include <unistd.h>

#include "core/error.h"
#include "fuzz/fuzz.h"
#include "serve/http_exchange.h"

namespace phalanx::fuzz {
namespace {

constexpr size_t kMaxInput = 64 << 10;  // fits into the buffer of a socket

/// What a server sends back, headers and body.
void fuzz_http_answer(std::string_view input) {
  int sockets[2];
  promise(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "there is a pair of sockets");
  const std::string_view sent = input.substr(0, kMaxInput);
  promise(::send(sockets[0], sent.data(), sent.size(), MSG_DONTWAIT) == static_cast<ssize_t>(sent.size()),
          "the input fits");
  ::shutdown(sockets[0], SHUT_WR);
  const serve::ExchangeOptions options = {.limits = {.max_body_bytes = 8 << 10}};
  try {
    const serve::Answer answer = serve::receive_answer(sockets[1], options);
    promise(answer.head.status >= 200 && answer.head.status < 600, "a status is one of five kinds");
    promise(answer.body.size() <= options.limits.max_body_bytes, "a body keeps to the limit");
  } catch (const serve::ExchangeError& error) {
    promise(core::printable(error.what(), 1000) == error.what(), "a refusal is one printable line",
            error.what());
  }
  ::close(sockets[0]);
  ::close(sockets[1]);
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(http_answer, phalanx::fuzz::fuzz_http_answer)
