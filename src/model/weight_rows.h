#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

#include "model/load.h"
#include "model/save.h"

namespace phalanx::model {

/// Rows [begin, end) of the weight of this Hugging Face name (of a vector: elements), fp32 in host memory of
/// its own. What works with weights a few rows at a time never holds a whole one.
using WeightRows = std::function<at::Tensor(const std::string& name, int64_t begin, int64_t end)>;

/// Read from the file when they are asked for, and not kept; the pages of a weight may leave memory when the
/// next one is asked for.
/// @param where  what messages call the file.
/// @throws core::Error (the returned function, kBadInput) for values that are not finite.
WeightRows rows_of(std::shared_ptr<const formats::TensorFile> file, const std::string& where);

/// Cut from whole weights, of which the one asked for last is kept.
WeightRows rows_of(WeightSource weights);

/// Calls `body` with ranges that cut `rows` rows of `columns` values into pieces of some MiB of fp32. The
/// cuts follow from these two numbers alone.
void for_each_piece(int64_t rows, int64_t columns,
                    const std::function<void(int64_t begin, int64_t end)>& body);

}  // namespace phalanx::model
