#pragma once
#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

/// Collectives that autograd sees (Megatron's f and g, Shoeybi et al. 2019, and their sequence-parallel
/// twins, Korthikanti et al. 2022). Each forward is the transpose of its partner's backward. With a group of
/// one rank they return x.
namespace phalanx::parallel {

/// x, equal on all ranks, goes into computations that each do a part: forward x, backward all_reduce.
at::Tensor copy_to_group(const at::Tensor& x, comm::Communicator& group);

/// x, equal on all ranks, goes into a loss that each of them computes whole, while gradients of what x was
/// made from are added over the ranks: forward x, backward the gradient / ranks, so that it counts once.
at::Tensor count_once_in_group(const at::Tensor& x, comm::Communicator& group);

/// The ranks' parts of a sum: forward all_reduce (into x itself), backward the gradient as it is.
at::Tensor sum_over_group(const at::Tensor& x, comm::Communicator& group);

/// Rows per rank when n rows are spread: ceil(n / ranks); the last ranks' missing rows are zeros.
int64_t rows_per_rank(int64_t num_rows, const comm::Communicator& group);

/// [rows_per_rank, h] on each rank -> [num_rows, h] on all: forward all_gather, backward reduce_scatter.
at::Tensor gather_rows(const at::Tensor& x, int64_t num_rows, comm::Communicator& group);

/// The ranks' parts of a sum [num_rows, h] -> this rank's rows of the sum: forward reduce_scatter, backward
/// all_gather.
at::Tensor sum_and_scatter_rows(const at::Tensor& x, comm::Communicator& group);

}  // namespace phalanx::parallel
