#pragma once
#include <atomic>

#include "serve/http_server.h"

namespace phalanx::serve {

/// One accepted socket: requests are read and answered until it is closed. Every wait has an end.
/// @param stops  set by the server: after the present answer no other request is read.
void serve_connection(int socket, const ServerOptions& options, const Handler& handler,
                      const std::atomic<bool>& stops);

/// Sends all of it, or gives up after the write timeout. @return was all sent?
bool send_all(int socket, std::string_view text, double timeout_s);

/// What `handler` answers, exceptions included.
Response answer(const Handler& handler, const Request& request);

}  // namespace phalanx::serve
