#include <fmt/format.h>

#include "core/error.h"
#include "data/prepare.h"

namespace phalanx::data {
namespace {

using nlohmann::ordered_json;

constexpr size_t kShownBytes = 240;  // of each stretch of the example: its beginning and its end

/// Text for one line, its middle left out when it is long.
std::string shorten(const std::string& text) {
  if (text.size() <= kShownBytes) return core::printable(text, 4 * kShownBytes);
  size_t head = kShownBytes / 2;
  while (head > 0 && (static_cast<unsigned char>(text[head]) & 0xC0) == 0x80) --head;
  size_t tail = text.size() - kShownBytes / 2;
  while (tail < text.size() && (static_cast<unsigned char>(text[tail]) & 0xC0) == 0x80) ++tail;
  return core::printable(text.substr(0, head), 4 * kShownBytes) + " ... " +
         core::printable(text.substr(tail), 4 * kShownBytes);
}

/// The decoded example with its targets between [[ and ]].
std::string marked_example(const ordered_json& example, const Tokenizer& tokenizer) {
  std::string line, stretch;
  bool inside = false;
  const auto close = [&] {
    if (!stretch.empty()) line += inside ? "[[" + shorten(stretch) + "]]" : shorten(stretch);
    stretch.clear();
  };
  for (size_t i = 0; i < example["ids"].size(); ++i) {
    const bool is_target = example["mask"][i].get<int>() > 0;
    if (is_target != inside) {
      close();
      inside = is_target;
    }
    stretch += tokenizer.token_bytes(example["ids"][i].get<int32_t>());
  }
  close();
  return line;
}

std::string counts(const ordered_json& report) {
  const auto number = [&](const char* name) { return report[name].get<int64_t>(); };
  std::string text =
      fmt::format("{} records, {} bad; {} sequences, {} tokens, {} of them targets", number("records"),
                  number("bad_records"), number("sequences"), number("tokens"), number("target_tokens"));
  for (const auto& [reason, count] : report["drops"].items())
    text += fmt::format("; {} dropped: {}", count.get<int64_t>(), reason);
  if (number("truncated") > 0) text += fmt::format("; {} cut to data.sequence_length", number("truncated"));
  if (number("straddling_tokens") > 0) {
    text += fmt::format("; {} targets hold the end of a prompt and the beginning of its answer in one token",
                        number("straddling_tokens"));
  }
  if (number("special_text_in_content") > 0) {
    text += fmt::format("; {} with special-token text in their content (data.special_tokens_in_content)",
                        number("special_text_in_content"));
  }
  return text;
}

}  // namespace

std::string describe(const Dataset& dataset, const Tokenizer& tokenizer, const std::string& name) {
  const ordered_json& report = dataset.report();
  std::string text;
  for (const auto& source : report["sources"]) {
    text += fmt::format("{}: {} (format {}; {})\n", name, core::printable(source["path"].get<std::string>()),
                        source["format"].get<std::string>(), source["container"].get<std::string>());
  }
  text += fmt::format("{}: {}\n", name, counts(report));
  return text + fmt::format("{}: first record, targets between [[ and ]]:\n  | {}", name,
                            marked_example(report["example"], tokenizer));
}

}  // namespace phalanx::data
