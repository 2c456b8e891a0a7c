#include "data/token_set.h"

#include <cstring>

#include "core/hash.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

constexpr size_t kHeaderBytes = 72, kHashOffset = 24;

/// The input is a cache file whose checksum is put right, so that what stands behind it is reached.
void fuzz_token_set(std::string_view input) {
  std::string bytes(input);
  if (bytes.size() >= kHeaderBytes) {
    const uint64_t hash = core::xxh3_64(std::string_view(bytes).substr(kHeaderBytes));
    std::memcpy(bytes.data() + kHashOffset, &hash, sizeof hash);
  }
  const std::string path = as_file(bytes, "input.tokens");
  accepts([&] {
    std::string why;
    const auto set = data::TokenSet::open(path, 0, why);
    promise(set.has_value() || !why.empty(), "a refused cache says why");
    if (!set) return;
    for (uint64_t row = 0; row < set->num_rows(); ++row)
      for (const data::Segment& segment : set->row(row)) {
        set->continues(segment);
        promise(segment.length <= set->ids().size() && segment.begin <= set->ids().size() - segment.length,
                "segments lie in the tokens");
      }
    for (const uint64_t begin : set->source_begin())
      promise(begin <= set->num_rows(), "sources lie in the rows");
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(token_set, phalanx::fuzz::fuzz_token_set)
