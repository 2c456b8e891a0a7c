#include "core/json.h"

#include "data/jinja_library.h"
#include "data/json_value.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

/// The strict parser of files, and the fast one of records.
void fuzz_json(std::string_view input) {
  const bool is_json = accepts([&] {
    const core::Json json = core::parse_json(input, "input.json");
    const std::string text = core::to_text(json);
    promise(core::parse_json(text, "written.json") == json, "written JSON reads the same", text);
  });
  data::jinja::Value value;
  data::JsonProblem problem;
  if (!data::parse_json(input, &value, &problem)) {
    promise(!problem.reason.empty(), "a refusal says why");
    return;
  }
  promise(is_json, "what the fast parser accepts is strict JSON");
  data::jinja::Value again;
  const std::string text = data::jinja::to_json(value);
  promise(data::parse_json(text, &again, &problem) && data::jinja::equal(value, again),
          "a written record reads the same", text);
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(json, phalanx::fuzz::fuzz_json)
