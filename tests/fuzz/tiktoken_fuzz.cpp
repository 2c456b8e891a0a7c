#include "data/tokenizer_formats.h"
#include "fuzz/fuzz.h"
#include "fuzz/use_tokenizer.h"

namespace phalanx::fuzz {
namespace {

void fuzz_tiktoken(std::string_view input) {
  data::is_tiktoken(input);
  accepts([&] { use_tokenizer(data::read_tiktoken(input, "input.tiktoken", ""), input.substr(0, 200)); });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(tiktoken, phalanx::fuzz::fuzz_tiktoken)
