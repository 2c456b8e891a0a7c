#include "data/json_array.h"

#include "fuzz/fuzz.h"
#include "fuzz/use_records.h"

namespace phalanx::fuzz {
namespace {

void fuzz_json_array(std::string_view input) {
  const std::string path = as_file(input, "input.json");
  accepts([&] {
    const auto reader = data::open_json(path);
    use_records(*reader);
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(json_array, phalanx::fuzz::fuzz_json_array)
