#include "model/keyed_random.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <numbers>

#include "core/random.h"

namespace phalanx::model {
namespace {

// A name as a stream number (FNV-1a, 64 bits).
uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash;
}

double to_unit(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// Calls write(index, u0, u1) for every pair of elements, with two uniform numbers in [0, 1).
template <typename Write>
void for_pairs(int64_t count, uint64_t seed, std::string_view name, const Write& write) {
  const uint64_t stream = hash_name(name);
  at::parallel_for(0, (count + 1) / 2, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t index = 2 * begin; index < 2 * end; index += 2) {
      write(index, to_unit(core::random_bits(seed, stream, index)),
            to_unit(core::random_bits(seed, stream, index + 1)));
    }
  });
}

template <typename Pair>
void fill(at::Tensor& tensor, uint64_t seed, std::string_view name, const Pair& values_of) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.is_cpu(),
              "fill: the tensor must be contiguous in host memory");
  const int64_t count = tensor.numel();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, tensor.scalar_type(), "fill", [&] {
    scalar_t* out = tensor.mutable_data_ptr<scalar_t>();
    for_pairs(count, seed, name, [&](int64_t index, double u0, double u1) {
      const auto [first, second] = values_of(u0, u1);
      out[index] = static_cast<scalar_t>(first);
      if (index + 1 < count) out[index + 1] = static_cast<scalar_t>(second);
    });
  });
}

}  // namespace

void fill_normal(at::Tensor tensor, double standard_deviation, uint64_t seed, std::string_view name) {
  fill(tensor, seed, name, [&](double u0, double u1) {  // Box and Muller 1958
    const double radius = standard_deviation * std::sqrt(-2 * std::log1p(-u0));
    const double angle = 2 * std::numbers::pi * u1;
    return std::pair(radius * std::cos(angle), radius * std::sin(angle));
  });
}

void fill_uniform(at::Tensor tensor, double bound, uint64_t seed, std::string_view name) {
  fill(tensor, seed, name,
       [&](double u0, double u1) { return std::pair((2 * u0 - 1) * bound, (2 * u1 - 1) * bound); });
}

}  // namespace phalanx::model
