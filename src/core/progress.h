#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace phalanx::core {

struct ProgressState {
  int64_t step = 0;  ///< done so far
  std::optional<double> loss = {};
  std::optional<double> tokens_per_s = {};
  std::optional<uint64_t> memory_bytes = {};
};

struct ProgressOptions {
  std::string unit = "step";  ///< what is counted
  bool is_terminal = false;   ///< a bar that is redrawn; else a line now and then
  bool has_color = false;
  int columns = 80;
  double bar_interval_s = 0.1;   ///< redrawn at most so often
  double line_interval_s = 2.0;  ///< lines at least so far apart; the first and the last are always printed
};

/// How far a loop has come. On a terminal:
///     step 42/200 ━━━━━━━━━━────────────── 21%  loss 2.345  1234 tok/s  ETA 1:23  1.2 GiB
/// else the same without the bar, a line at a time.
class Progress {
 public:
  /// `total` 0: unknown; no bar and no ETA. `first` is the step at which this process starts (a resumed run).
  Progress(int64_t total, ProgressOptions options, int64_t first = 0);
  ~Progress();  ///< removes the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(const ProgressState& state);

 private:
  using Clock = std::chrono::steady_clock;
  std::optional<double> eta_s(const ProgressState& state) const;
  int64_t total_;
  ProgressOptions options_;
  int64_t first_;
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> last_shown_;
};

/// Options for this process's stderr, as set_up_log knows it.
ProgressOptions progress_options(std::string unit = "step");

/// The text of one update; `columns` of it at most when there is a bar.
std::string format_progress(const ProgressState& state, int64_t total, std::optional<double> eta_s,
                            const ProgressOptions& options);

}  // namespace phalanx::core
