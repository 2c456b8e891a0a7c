#pragma once
#include "data/record_reader.h"

namespace phalanx::fuzz {

/// Reads all records of a file, in every format that they may have, and makes tokens of those that can be
/// learned from.
void use_records(data::RecordReader& reader);

}  // namespace phalanx::fuzz
