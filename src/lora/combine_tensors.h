#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

/// How tensors of several fine-tunings of one base become one; what PEFT's merge_utils do. All take fp32
/// tensors of one shape and as many weights.
namespace phalanx::lora {

/// Whose sign counts where two tensors disagree: that of the sum, or that of more of them.
enum class MajoritySign { kTotal, kFrequency };

/// sum_i weights[i] tensors[i] (task arithmetic, Ilharco et al. 2023, arXiv:2212.04089).
at::Tensor weighted_sum(const std::vector<at::Tensor>& tensors, std::span<const double> weights);

/// The floor(density * n) elements of largest magnitude; the others are 0.
at::Tensor largest_kept(const at::Tensor& tensor, double density);

/// DARE (Yu et al. 2024, arXiv:2311.03099): each element stays with probability `density`, divided by it,
/// else 0. Which do is a function of (seed, name, index) alone.
at::Tensor random_kept(const at::Tensor& tensor, double density, uint64_t seed, const std::string& name);

/// The second and third step of TIES (Yadav et al. 2023, arXiv:2306.01708): per element, the mean of the
/// weighted values over the tensors whose sign is the elected one. Signs are elected without the weights, as
/// in PEFT.
at::Tensor disjoint_mean(const std::vector<at::Tensor>& tensors, std::span<const double> weights,
                         MajoritySign majority);

}  // namespace phalanx::lora
