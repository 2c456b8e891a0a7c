#pragma once
#include <algorithm>

#include "formats/tensor_file.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {

/// Promises that what was written of `file` reads as it does.
inline void promise_same_tensors(const formats::TensorFile& file, const formats::TensorFile& copy) {
  promise(copy.tensors().size() == file.tensors().size(), "as many tensors are read as were written");
  for (const formats::TensorInfo& tensor : file.tensors()) {
    const formats::TensorInfo* written = copy.find(tensor.name);
    promise(written != nullptr && written->dtype == tensor.dtype && written->shape == tensor.shape,
            "a written tensor has the same name, type and shape");
    const auto before = file.bytes(tensor), after = copy.bytes(*written);
    promise(std::equal(before.begin(), before.end(), after.begin(), after.end()),
            "a written tensor has the same bytes");
  }
}

}  // namespace phalanx::fuzz
