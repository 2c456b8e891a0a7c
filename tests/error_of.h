#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/error.h"

namespace phalanx::test {

/// What the error of `run` says; fails the test when there is none, it has another code or more than one
/// line.
inline std::string error_of(const std::function<void()>& run,
                            core::ExitCode code = core::ExitCode::kBadInput) {
  try {
    run();
  } catch (const core::Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace phalanx::test
