#pragma once
#include <string_view>

/// The files of page/, compiled in (phalanx_text in cmake/folders.cmake).
namespace phalanx::label {

extern const std::string_view kPageHtml, kPageStyle, kPageScript;

}  // namespace phalanx::label
