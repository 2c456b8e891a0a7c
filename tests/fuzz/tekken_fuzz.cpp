#include "data/tokenizer_formats.h"
#include "fuzz/fuzz.h"
#include "fuzz/use_tokenizer.h"

namespace phalanx::fuzz {
namespace {

void fuzz_tekken(std::string_view input) {
  data::is_tekken(input);
  accepts([&] { use_tokenizer(data::read_tekken(input, "tekken.json"), input.substr(0, 200)); });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(tekken, phalanx::fuzz::fuzz_tekken)
