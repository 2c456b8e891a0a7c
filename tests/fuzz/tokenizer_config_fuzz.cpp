#include "data/tokenizer_config.h"

#include <filesystem>

#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

data::TokenizerSpec small_spec() {
  data::TokenizerSpec spec;
  spec.source = "tokenizer.json";
  spec.tokens = {"<s>", "</s>", "<unk>", "<|im_end|>", "a"};
  spec.num_model_tokens = 5;
  spec.model = data::BpeModel{};
  for (data::TokenId id = 0; id < 4; ++id)
    spec.added_tokens.push_back({.id = id, .content = spec.tokens[static_cast<size_t>(id)], .special = true});
  return spec;
}

/// The input stands beside a tokenizer under each of the names that are looked for.
void fuzz_tokenizer_config(std::string_view input) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
    const std::string path = as_file(input, name);
    accepts([&] {
      data::TokenizerSpec spec = small_spec();
      data::read_tokenizer_config(std::filesystem::path(path).parent_path().string(), spec);
      for (const data::TokenId id : spec.stop_ids)
        promise(id >= 0 && id < static_cast<data::TokenId>(spec.tokens.size()),
                "stop ids lie in the vocabulary");
    });
    std::filesystem::remove(path);
  }
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(tokenizer_config, phalanx::fuzz::fuzz_tokenizer_config)
