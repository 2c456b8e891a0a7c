#pragma once
#include <memory>
#include <string>

#include "data/record_reader.h"

namespace phalanx::data {

/// A file of columns, row by row: .parquet, and .arrow (the IPC file or stream). Rows become JSON: structs
/// are objects, lists arrays, dictionaries what they stand for, dates and decimals text. Columns have no way
/// to leave a field out, so that a null is an absent field. Read in batches, not whole, by the module
/// phalanx_arrow.so. Built where CMake finds Apache Arrow (the pyarrow wheel); else every call is refused.
/// @throws core::Error (65) for a file that Arrow cannot read, and for columns of binary data.
std::unique_ptr<RecordReader> open_columnar(const std::string& path);

}  // namespace phalanx::data
