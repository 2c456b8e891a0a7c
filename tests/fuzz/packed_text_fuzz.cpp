#include "data/text_documents.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

/// The same bytes as gzip, as zstd and as plain text.
void fuzz_packed_text(std::string_view input) {
  for (const char* name : {"input.txt.gz", "input.txt.zst", "input.txt"}) {
    const std::string path = as_file(input, name);
    for (const char* documents : {"file", "paragraph", "line"}) {
      accepts([&] {
        data::TextDocuments reader(path, {.documents = documents});
        data::RawRecord raw;
        while (reader.next(raw))
          if (raw.problem.empty()) accepts([&] { reader.parse(raw); });
      });
    }
  }
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(packed_text, phalanx::fuzz::fuzz_packed_text)
