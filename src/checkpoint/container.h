#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "formats/tensor_spec.h"

/// The HDF5 side of a checkpoint. It makes the files openable by h5dump and h5py; the loader never parses
/// them.
namespace phalanx::checkpoint {

/// Creates an HDF5 file of empty contiguous datasets, closed again, and returns where the bytes of each
/// belong (0 for one without elements). The data is then written there with plain calls, so that a failing
/// disk in the long part meets our code and not the library's (a failed HDF5 file crashes later, see
/// docs/architecture.md).
/// @throws core::Error (74).
std::vector<uint64_t> create_container(const std::string& path,
                                       const std::vector<formats::TensorSpec>& datasets);

/// Creates and syncs the virtual-dataset index: one dataset per tensor, mapped onto the pieces in the shards
/// beside it.
void write_index(const std::string& path, const std::vector<TensorEntry>& tensors);

/// The name of a piece's dataset in its shard: the tensor's, and "@offset" if it is a part of it:
/// "embed_tokens.weight@24576_0".
std::string dataset_name(const std::string& tensor, const std::vector<int64_t>& shape, const Box& box);

}  // namespace phalanx::checkpoint
