#pragma once
#include <functional>
#include <string>
#include <string_view>

namespace phalanx::fuzz {

/// One parser under test: what the fuzzer does with each input. It must return for every input; a promise
/// that does not hold ends the process through broken().
using Target = void (*)(std::string_view input);

/// The input as a file of this name in a folder that goes away with the process. @return its path.
std::string as_file(std::string_view input, const std::string& name);
std::string path_of(const std::string& name);  ///< in the same folder, where a writer may put its file

/// Runs `read`, which may refuse its input: by a core::Error with exit code 65 or 78 whose lines are
/// printable, and by nothing else.
/// @return whether it did not.
bool accepts(const std::function<void()>& read);

/// Says which promise was broken and ends the process.
[[noreturn]] void broken(std::string_view promise, std::string_view detail = {});
inline void promise(bool holds, std::string_view what, std::string_view detail = {}) {
  if (!holds) broken(what, detail);
}

/// For the driver that replays corpora; libFuzzer finds the target by its entry point instead.
bool register_target(const char* name, Target target);

}  // namespace phalanx::fuzz

/// Makes `function` the target NAME. Built for libFuzzer each target is a program, else all are parts of one.
#ifdef PHALANX_LIBFUZZER
#define PHALANX_FUZZ_TARGET(name, function)                                       \
  extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) { \
    function(std::string_view(reinterpret_cast<const char*>(data), size));        \
    return 0;                                                                     \
  }
#else
#define PHALANX_FUZZ_TARGET(name, function) \
  const bool name##_is_registered = phalanx::fuzz::register_target(#name, function);
#endif
