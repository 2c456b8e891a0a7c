#include "data/json_lines.h"

#include "fuzz/fuzz.h"
#include "fuzz/use_records.h"

namespace phalanx::fuzz {
namespace {

void fuzz_json_lines(std::string_view input) {
  const std::string path = as_file(input, "input.jsonl");
  accepts([&] {
    data::JsonLines reader(path);
    use_records(reader);
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(json_lines, phalanx::fuzz::fuzz_json_lines)
