#include "data/tokenizer_json.h"

#include "fuzz/fuzz.h"
#include "fuzz/use_tokenizer.h"

namespace phalanx::fuzz {
namespace {

void fuzz_tokenizer_json(std::string_view input) {
  accepts([&] {
    const data::TokenizerSpec spec = data::read_tokenizer_json(input, "tokenizer.json");
    const auto ids = use_tokenizer(spec, input.substr(0, 200));
    const data::TokenizerSpec again =
        data::read_tokenizer_json(data::write_tokenizer_json(spec), "written.json");
    promise(use_tokenizer(again, input.substr(0, 200)) == ids, "a written tokenizer.json gives the same ids");
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(tokenizer_json, phalanx::fuzz::fuzz_tokenizer_json)
