#include "core/config.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

void fuzz_run_config(std::string_view input) {
  accepts([&] {
    const core::Config config = core::Config::parse(std::string(input), "run.yaml");
    const std::string text = config.print(false);
    promise(core::Config::parse(text, "printed.yaml").print(false) == text, "a printed config reads the same",
            text);
    promise(core::Config::parse(config.print(true), "printed.yaml").print(false) == text,
            "a config printed with origins reads the same", text);
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(run_config, phalanx::fuzz::fuzz_run_config)
