#pragma once
#include "model/causal_lm.h"
#include "model/parameter.h"
#include "model/weight_rows.h"

namespace phalanx::model {

/// Gives the parameters of one module and of those below it that have no memory their values, as long as it
/// lives.
class ResidentWeights {
 public:
  /// @param path  of the module, which is how the names of its parameters begin.
  ResidentWeights(const Module& module, const std::string& path, const WeightRows& weights);
  ~ResidentWeights();
  ResidentWeights(const ResidentWeights&) = delete;
  ResidentWeights& operator=(const ResidentWeights&) = delete;

 private:
  std::vector<at::Tensor> filled_;
};

/// From now on `model` runs without holding its matrices: each is read when its Linear multiplies and dropped
/// behind the product (whatever product is installed there, an adapter's too, whose factors come and go with
/// it), of embeddings only the rows that are looked up. Vectors are read now and stay. The output matrix is
/// never made: whoever wants logits reads its rows.
/// @param model  its matrices have no memory, or lose it here.
void stream_weights(CausalLm& model, const WeightRows& weights);

/// The name of the output matrix: "lm_head.weight", or the embedding's where tied.
std::string output_weight_name(CausalLm& model);

}  // namespace phalanx::model
