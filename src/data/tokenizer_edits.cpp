#include "data/tokenizer_edits.h"

#include "data/tokenizer_error.h"

namespace phalanx::data {

void fail_growth(uint64_t bytes, uint64_t source_bytes, uint64_t times) {
  fail_tokenizer(
      TokenizerErrorKind::kTooLarge,
      "the tokenizer's rules make {} bytes of {} of a text; {} times as many and {} more are allowed", bytes,
      source_bytes, times, kAllowedGrowthBytes);
}

}  // namespace phalanx::data
