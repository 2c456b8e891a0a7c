#include "core/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "core/units.h"

namespace phalanx::core {

namespace {

std::string bar(double fraction, int width, bool has_color) {
  const int filled = std::clamp(static_cast<int>(fraction * width + 0.5), 0, width);
  std::string text = has_color ? "\x1b[32m" : "";
  for (int i = 0; i < filled; ++i) text += "\u2501";
  if (has_color) text += "\x1b[90m";
  for (int i = filled; i < width; ++i) text += "\u2500";
  return text + (has_color ? "\x1b[0m" : "");
}

/// "  loss 2.345  1234 tok/s  ETA 1:23  1.2 GiB", what is known of it. ASCII.
std::string details(const ProgressState& state, std::optional<double> eta_s) {
  std::string text;
  if (state.loss) text += fmt::format("  loss {:.4f}", *state.loss);
  if (state.tokens_per_s) text += fmt::format("  {} tok/s", format_rate(*state.tokens_per_s));
  if (eta_s) text += fmt::format("  ETA {}", format_duration(*eta_s));
  if (state.memory_bytes) text += fmt::format("  {}", format_bytes(*state.memory_bytes));
  return text;
}

}  // namespace

std::string format_progress(const ProgressState& state, int64_t total, std::optional<double> eta_s,
                            const ProgressOptions& options) {
  const std::string rest = details(state, eta_s);
  if (total <= 0) return fmt::format("{} {}{}", options.unit, state.step, rest);
  const std::string count = fmt::format("{} {}/{}", options.unit, state.step, total);
  if (!options.is_terminal) return count + rest;
  const double fraction = std::clamp(static_cast<double>(state.step) / static_cast<double>(total), 0.0, 1.0);
  const std::string percent = fmt::format("{:3.0f}%", fraction * 100.0);
  const int taken =
      static_cast<int>(count.size() + percent.size() + rest.size()) + 3;  // two spaces, a last free column
  const int width = std::clamp(options.columns - taken, 0, 40);
  if (width < 4) return (count + " " + percent + rest).substr(0, std::max(options.columns - 1, 0));
  return fmt::format("{} {} {}{}", count, bar(fraction, width, options.has_color), percent, rest);
}

ProgressOptions progress_options(std::string unit) {
  return {.unit = std::move(unit),
          .is_terminal = stderr_is_terminal() && log_options().rank == 0 && !log_options().is_quiet,
          .has_color = log_options().has_color,
          .columns = terminal_columns()};
}

Progress::Progress(int64_t total, ProgressOptions options, int64_t first)
    : total_(total), options_(std::move(options)), first_(first) {}

Progress::~Progress() {
  if (options_.is_terminal) set_status_line("");
}

void Progress::update(const ProgressState& state) {
  const auto now = Clock::now();
  const double interval_s = options_.is_terminal ? options_.bar_interval_s : options_.line_interval_s;
  const bool is_last = total_ > 0 && state.step >= total_;
  const bool is_due = !last_shown_ || std::chrono::duration<double>(now - *last_shown_).count() >= interval_s;
  if (!is_due && !is_last) return;
  last_shown_ = now;
  const std::string text = format_progress(state, total_, eta_s(state), options_);
  if (options_.is_terminal) {
    set_status_line(text);
  } else {
    log_note_text(text);
  }
}

std::optional<double> Progress::eta_s(const ProgressState& state) const {
  const int64_t done = state.step - first_;
  if (total_ <= 0 || done <= 0 || state.step > total_) return std::nullopt;
  const double elapsed_s = std::chrono::duration<double>(Clock::now() - start_).count();
  return elapsed_s / static_cast<double>(done) * static_cast<double>(total_ - state.step);
}

}  // namespace phalanx::core
