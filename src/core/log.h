#pragma once
#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace phalanx::core {

struct LogOptions {
  int rank = 0;            ///< only rank 0 prints notes and warnings
  bool is_quiet = false;   ///< errors only
  bool has_color = false;  ///< of the progress bar; the caller has looked at NO_COLOR and TERM
  std::string file = {};   ///< also everything into this file, with times; empty: none
};

/// Where messages go from now on: stderr, and the file where one is named. Before the first call: stderr, as
/// rank 0.
/// @throws Error (kStorage) if the file cannot be opened.
void set_up_log(const LogOptions& options);
const LogOptions& log_options();

void log_note_text(std::string text);
void log_warning_text(std::string text);

/// One line for the user about what is going on. Never contains "error:" (it is written "error -").
template <typename... Args>
void log_note(fmt::format_string<Args...> format, Args&&... args) {
  log_note_text(fmt::format(format, std::forward<Args>(args)...));
}

/// As log_note, for something the user should look at; begins with "note:".
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_warning_text(fmt::format(format, std::forward<Args>(args)...));
}

/// The last words of a process: error.report(), every line with "rank R: " in front unless this is rank 0, in
/// one write so that the lines of two ranks do not mix.
void log_fatal(const Error& error);

/// A line that stays at the bottom of the terminal, below the messages; empty removes it. Nothing happens if
/// stderr is not a terminal.
void set_status_line(const std::string& text);
bool stderr_is_terminal();
int terminal_columns();  ///< 80 if unknown

}  // namespace phalanx::core
