#include "reward/random_id.h"

#include <fmt/format.h>
#include <sys/random.h>

#include "core/error.h"

namespace phalanx::reward {

std::string random_id() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
    core::fail(core::ExitCode::kBug, "the operating system gave no random bytes");
  std::string id;
  for (const unsigned char byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

}  // namespace phalanx::reward
