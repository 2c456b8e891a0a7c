#pragma once
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace phalanx::core {

/// Exit codes of the program; a supervisor (or Slurm) acts on them.
enum class ExitCode : int {
  kDone = 0,
  kBadInput = 65,    ///< a file or record that we were given is wrong
  kBug = 70,         ///< our mistake
  kStorage = 74,     ///< disk full, I/O error
  kStopped = 75,     ///< stopped early, can be resumed
  kNumerics = 76,    ///< NaN or infinity in loss or gradients
  kSuperseded = 77,  ///< another incarnation owns the output folder
  kBadConfig = 78,   ///< the run configuration is wrong
};

/// An error for the user: `what()` is one line, "file: what was found, what is allowed, the way out", without
/// "error:". The program prints `report()` once and exits with `code`.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }
  /// What the terminal shows, without a last newline: "error: " and the message.
  virtual std::string report() const { return std::string("error: ") + what(); }

 private:
  ExitCode code_;
};

template <typename... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Text from a file or user, made safe for one line of a terminal: control characters and invalid UTF-8
/// escaped, cut to `max_bytes` (an ellipsis marks the cut).
std::string printable(std::string_view text, size_t max_bytes = 120);

/// Length in bytes of the well-formed UTF-8 character at the start of `text`; 0 if there is none (Unicode 15,
/// table 3-7).
size_t utf8_length(std::string_view text);

}  // namespace phalanx::core
