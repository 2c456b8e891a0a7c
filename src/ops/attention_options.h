#pragma once
#include <cstdint>

namespace phalanx::ops {

/// What becomes of a score s = q . k before the softmax, in this order:
///
///     s scale;   where softcap > 0: softcap tanh(s / softcap) (Gemma Team 2024, arXiv:2408.00118);
///     where window > 0: hidden if the key lies `window` or more rows before its query (Beltagy et al. 2020,
///     arXiv:2004.05150), so that a query sees `window` keys with its own
///
/// A number alone is the scale.
struct AttentionOptions {
  AttentionOptions(double the_scale, int64_t the_window = 0, double the_softcap = 0)
      : scale(the_scale), window(the_window), softcap(the_softcap) {}

  bool is_plain() const { return window == 0 && softcap == 0; }
  /// The same for samples of at most `num_rows` rows: a window that they fit into hides nothing.
  AttentionOptions within(int64_t num_rows) const {
    return {scale, window >= num_rows ? 0 : window, softcap};
  }

  double scale;
  int64_t window;
  double softcap;
};

}  // namespace phalanx::ops
