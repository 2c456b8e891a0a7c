#include "fuzz/use_tokenizer.h"

#include "core/error.h"
#include "data/tokenizer_pipeline.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

constexpr std::string_view kTexts[] = {
    "",
    "The quick brown fox can't jump 12345 times.",
    "  two spaces\n\n\ttab, caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 e\xcc\x81",
    "<s><|im_start|>user<|im_end|></s><unk>",
};

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = core::utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

void use_text(const data::Tokenizer& tokenizer, std::string_view text, std::vector<data::TokenId>& all) {
  for (const auto special : {data::SpecialText::kParse, data::SpecialText::kLiteral}) {
    const auto encoding = tokenizer.encode_with_ranges(text, special);
    promise(encoding.ids == tokenizer.encode(text, special),
            "ids do not depend on whether ranges are asked for");
    promise(encoding.ids.size() == encoding.byte_ranges.size(), "each id has a range");
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      const auto [begin, end] = encoding.byte_ranges[i];
      promise(begin <= end && end <= text.size(), "ranges lie in the text");
      promise(encoding.ids[i] >= 0 && encoding.ids[i] < tokenizer.vocab_size(), "ids lie in the vocabulary");
      tokenizer.token_bytes(encoding.ids[i]);
    }
    const std::string decoded = tokenizer.decode(encoding.ids, false);
    promise(is_utf8(decoded), "decoded text is UTF-8");
    data::StreamDecoder stream(tokenizer, false);
    std::string streamed;
    for (const data::TokenId id : encoding.ids) streamed += stream.push(id);
    streamed += stream.finish();
    promise(streamed == decoded, "streamed text is the decoded text");
    all.insert(all.end(), encoding.ids.begin(), encoding.ids.end());
  }
  tokenizer.encode_with_post_processor(text);
}

}  // namespace

std::vector<data::TokenId> use_tokenizer(const data::TokenizerSpec& spec, std::string_view extra) {
  const data::PipelineTokenizer tokenizer(spec);
  std::vector<data::TokenId> ids;
  for (const std::string_view text : kTexts) accepts([&] { use_text(tokenizer, text, ids); });
  if (is_utf8(extra)) accepts([&] { use_text(tokenizer, extra, ids); });
  return ids;
}

}  // namespace phalanx::fuzz
