#include "core/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <memory>
#include <mutex>

namespace phalanx::core {

namespace {

/// Writes all of it by as few calls as the kernel takes: one, for lines that fit into a pipe.
void write_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;  // nowhere left to complain
    text.remove_prefix(static_cast<size_t>(written));
  }
}

/// Messages above, the status line below.
class TerminalSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void set_status(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (text.empty() && status_.empty()) return;
    status_ = text;
    write_stderr(kClearLine + status_);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const std::string_view text(message.payload.data(), message.payload.size());
    std::string out = status_.empty() ? "" : kClearLine;
    out.append(text).append("\n").append(status_);
    write_stderr(out);
  }
  void flush_() override {}

 private:
  static inline const std::string kClearLine = "\r\x1b[K";
  std::string status_;
};

struct Log {
  LogOptions options;
  std::shared_ptr<TerminalSink> terminal = std::make_shared<TerminalSink>();
  std::shared_ptr<spdlog::logger> logger = std::make_shared<spdlog::logger>("phalanx", terminal);
};

Log& instance() {
  static Log log;
  return log;
}

/// A supervisor that searches the output for "error:" must find errors only.
std::string without_error_mark(std::string text) {
  size_t place = 0;
  while ((place = text.find("error:", place)) != std::string::npos) text.replace(place, 6, "error -");
  return text;
}

}  // namespace

void set_up_log(const LogOptions& options) {
  Log& log = instance();
  log.options = options;
  log.logger = std::make_shared<spdlog::logger>("phalanx", log.terminal);
  if (!options.file.empty()) {
    try {
      auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file, /*truncate=*/false);
      file->set_pattern("%Y-%m-%d %H:%M:%S.%e %v");
      log.logger->sinks().push_back(std::move(file));
    } catch (const spdlog::spdlog_ex& error) {
      fail(ExitCode::kStorage, "{}: the log cannot be opened: {}", printable(options.file),
           printable(error.what()));
    }
  }
  log.logger->flush_on(spdlog::level::info);
  const bool is_silent = options.rank != 0 || options.is_quiet;
  log.logger->set_level(is_silent ? spdlog::level::critical : spdlog::level::info);
}

const LogOptions& log_options() {
  return instance().options;
}

void log_note_text(std::string text) {
  instance().logger->info("{}", without_error_mark(std::move(text)));
}

void log_warning_text(std::string text) {
  instance().logger->warn("note: {}", without_error_mark(std::move(text)));
}

void log_fatal(const Error& error) {
  const int rank = log_options().rank;
  const std::string prefix = rank == 0 ? "" : fmt::format("rank {}: ", rank);
  std::string text = prefix;
  for (const char c : error.report()) {
    text += c;
    if (c == '\n') text += prefix;
  }
  set_status_line("");
  instance().logger->critical("{}", text);
}

void set_status_line(const std::string& text) {
  if (stderr_is_terminal()) instance().terminal->set_status(text);
}

bool stderr_is_terminal() {
  static const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
  return is_terminal;
}

int terminal_columns() {
  struct winsize size {};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace phalanx::core
