#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "formats/tensor_file.h"
#include "model/parameter.h"

namespace phalanx::model {

/// Holds the tensors of a file, under Hugging Face's names, against the parameters of a model.
/// @throws core::Error (kBadInput) that lists every missing tensor, every unexpected one and every wrong
/// shape.
void check_weights(const NamedTensors& parameters, const formats::TensorFile& file, const std::string& where);

/// Decodes the stored values of every parameter that the file has, in parallel and straight into `dtype`
/// (fp64, fp32 or bf16), without a copy of the model in between; parameters that have no memory yet get it
/// here. A parameter with an entry in `parts` gets that part of the stored tensor.
/// @throws core::Error (kBadInput) for a stored tensor of another shape, and for one with a value that is not
/// finite.
void fill_weights(const NamedTensors& parameters, const NamedParts& parts, const formats::TensorFile& file,
                  at::ScalarType dtype, const std::string& where);

/// The same, and what was read stays mapped: for who reads a tensor in pieces and releases the file's pages
/// behind it.
void read_weights(const NamedTensors& parameters, const NamedParts& parts, const formats::TensorFile& file,
                  at::ScalarType dtype, const std::string& where);

}  // namespace phalanx::model
