#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace phalanx::comm {

/// Checks of what callers hand to a collective, before it is queued. They throw c10::Error (a mistake in our
/// own code) naming the collective, what was given and what is allowed.
void check_tensor(const char* collective, const at::Tensor& tensor, at::DeviceType device);
void check_rank(const char* collective, const char* what, int rank, int size);
/// `whole` must have `size` times the elements of `part`, and the same dtype.
void check_parts(const char* collective, const at::Tensor& whole, const at::Tensor& part, int size);
/// One non-negative split for each rank, together the elements of `tensor`.
void check_splits(const char* what, const at::Tensor& tensor, const std::vector<int64_t>& splits, int size);
/// all_to_all: what `from` sends to `to` must be what `to` expects of it. Thrown on every rank, as all see
/// all splits.
void check_split(int from, int to, int64_t sent, int64_t expected);

}  // namespace phalanx::comm
