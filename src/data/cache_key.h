#pragma once
#include <cstdint>

#include "data/prepare.h"

namespace phalanx::data {

/// Hash of everything that decides the content of a token set: each source's path, format, size, modification
/// time, first and last MiB; the tokenizer; the chat template; the settings. Reads 2 MiB of each file at
/// most.
/// @throws core::Error (65) for a source that is missing or not a regular file.
uint64_t cache_key(const PrepareOptions& options, const Tokenizer& tokenizer);

}  // namespace phalanx::data
