#include "core/random.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace phalanx::core {
namespace {

constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr int kFeistelRounds = 6;

std::array<uint32_t, 2> split(uint64_t value) {
  return {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)};
}

double to_unit(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

uint64_t feistel(uint64_t seed, uint64_t stream, int half_bits, uint64_t value) {
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t left = value >> half_bits, right = value & mask;
  for (uint32_t round = 0; round < kFeistelRounds; ++round) {
    const auto [r0, r1] = split(right);
    const auto [s0, s1] = split(stream);
    const uint64_t mixed = philox({r0, r1 ^ round << 24, s0, s1}, split(seed))[0];
    const uint64_t next = left ^ (mixed & mask);
    left = right;
    right = next;
  }
  return left << half_bits | right;
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * counter[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto [i0, i1] = split(index);
  const auto [s0, s1] = split(stream);
  const auto words = philox({i0, i1, s0, s1}, split(seed));
  return uint64_t{words[1]} << 32 | words[0];
}

uint64_t permute(uint64_t seed, uint64_t stream, uint64_t size, uint64_t index) {
  if (size < 2) return index;
  const int half_bits = (std::bit_width(size - 1) + 1) / 2;
  do {
    index = feistel(seed, stream, half_bits, index);
  } while (index >= size);
  return index;
}

uint64_t substream(uint64_t stream, uint64_t a) {
  uint64_t value = std::rotl(stream, 32) + (a + 1) * 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;  // the finaliser of SplitMix64 (Steele et al. 2014)
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

double random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
  return to_unit(random_bits(seed, stream, index));
}

double random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto [i0, i1] = split(index);
  const auto [s0, s1] = split(stream);
  const auto words = philox({i0, i1, s0, s1}, split(seed));
  const double u = 1.0 - to_unit(uint64_t{words[1]} << 32 | words[0]);  // (0, 1]
  const double angle = 2.0 * std::numbers::pi * to_unit(uint64_t{words[3]} << 32 | words[2]);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(angle);
}

}  // namespace phalanx::core
