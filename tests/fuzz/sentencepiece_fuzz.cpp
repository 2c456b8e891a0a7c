#include "data/tokenizer_formats.h"
#include "fuzz/fuzz.h"
#include "fuzz/use_tokenizer.h"

namespace phalanx::fuzz {
namespace {

void fuzz_sentencepiece(std::string_view input) {
  data::is_sentencepiece_model(input);
  accepts(
      [&] { use_tokenizer(data::read_sentencepiece_model(input, "tokenizer.model"), input.substr(0, 200)); });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(sentencepiece, phalanx::fuzz::fuzz_sentencepiece)
