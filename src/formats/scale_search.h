#pragma once
#include <cmath>

// The search behind the encoders of block types: which scale (and minimum) makes a group of values, rounded
// to a few levels, least wrong.
//
//     minimise  sum_i w_i (scale * level_i + minimum - x_i)^2,   level_i an integer in [kLow, kTop]
//
// Each of kCandidates inverse scales gives levels by rounding; for fixed levels the best scale and minimum
// follow from sums of w, w l, w l^2, w x and w l x, and so does the error. The candidates lie in the lanes of
// a vector, and every lane adds its terms in the order of the values: the bits are the same with vectors of
// every width, as long as products and sums are not fused (the including file says so).
namespace phalanx::formats {

constexpr int kLanes = 16, kBatches = 2, kCandidates = kLanes * kBatches;
using Lanes [[gnu::vector_size(kLanes * sizeof(float))]] = float;

/// The nearest whole number, even if there are two; |x| < 2^22.
inline float nearest(float x) {
  return (x + 0x1.8p23f) - 0x1.8p23f;
}

/// The level of x * inverse in [low, top]; top for what is not a number.
inline float level_of(float x, float inverse, float low, float top) {
  const float scaled = x * inverse;
  const float bounded = scaled < top ? scaled : top;
  return nearest(bounded > low ? bounded : low);
}

/// combine(combine(.., x[..]), x[..]) of 16 or 32 values, halves against halves: element by element, so that
/// it vectorises where a running minimum or maximum of floats would not.
template <int kCount, typename T, typename Combine>
inline T halved(const T* x, const Combine& combine) {
  T halves[kCount];
  for (int i = 0; i < kCount; ++i) halves[i] = x[i];
  for (int width = kCount / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) halves[i] = combine(halves[i], halves[i + width]);
  return halves[0];
}

/// Sum of term(0) .. term(kCount - 1) in eight running sums.
template <int kCount, typename Term>
inline float sum_of(const Term& term) {
  float sums[8] = {};
  for (int i = 0; i < kCount; i += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += term(i + lane);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/// Candidates spread evenly over [-1, 1) around a whole number of levels.
inline float offset_of(int candidate) {
  return (float(candidate) - kCandidates / 2) / (kCandidates / 2);
}

/// The lane with the largest score, and where its values lie.
struct Best {
  float score = 0;
  float scale, minimum;

  void offer(const float* scores, const float* scales, const float* minima) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!(scores[lane] > score)) continue;
      score = scores[lane];
      scale = scales[lane];
      minimum = minima[lane];
    }
  }
};

/// Levels kLow .. kTop without a minimum. The candidates put `anchor`, the value that reaches furthest, near
/// level `end`, which is kLow or kTop.
template <int kCount, int kLow, int kTop>
inline float fit_scale(const float* x, const float* weights, float anchor, float end) {
  if (!(std::fabs(anchor) > 1e-15f)) return 0;
  Best best{.scale = anchor / end, .minimum = 0};
  for (int batch = 0; batch < kBatches; ++batch) {
    Lanes inverse, xl = {}, ll = {};
    for (int lane = 0; lane < kLanes; ++lane)
      inverse[lane] = (end + offset_of(batch * kLanes + lane)) / anchor;
    const Lanes low = Lanes{} + float(kLow), top = Lanes{} + float(kTop);
    for (int i = 0; i < kCount; ++i) {
      Lanes level = inverse * x[i];
      level = level < top ? level : top;
      level = level > low ? level : low;
      level = (level + 0x1.8p23f) - 0x1.8p23f;
      xl += level * (weights[i] * x[i]);
      ll += level * level * weights[i];
    }
    const Lanes scales = xl / ll, scores = ll > 0 ? scales * xl : Lanes{}, minima = {};
    best.offer(reinterpret_cast<const float*>(&scores), reinterpret_cast<const float*>(&scales),
               reinterpret_cast<const float*>(&minima));
  }
  return best.scale;
}

struct Affine {
  float scale, minimum;
};

/// Levels 0 .. kTop with a minimum, which is at most 0 unless kAnyMinimum.
template <int kCount, int kTop, bool kAnyMinimum>
inline Affine fit_affine(const float* x, const float* weights) {
  float lowest = halved<kCount>(x, [](float a, float b) { return b < a ? b : a; });
  const float highest = halved<kCount>(x, [](float a, float b) { return b > a ? b : a; });
  if (!kAnyMinimum && lowest > 0) lowest = 0;
  const float range = highest - lowest;
  if (!(range > 1e-15f)) return {0, lowest};
  const float w = sum_of<kCount>([&](int i) { return weights[i]; });
  const float wx = sum_of<kCount>([&](int i) { return weights[i] * x[i]; });
  Best best{.scale = range / kTop, .minimum = lowest};
  for (int batch = 0; batch < kBatches; ++batch) {
    Lanes inverse, l = {}, ll = {}, xl = {};
    for (int lane = 0; lane < kLanes; ++lane)
      inverse[lane] = (kTop + offset_of(batch * kLanes + lane)) / range;
    const Lanes top = Lanes{} + float(kTop);
    for (int i = 0; i < kCount; ++i) {
      Lanes level = inverse * (x[i] - lowest);
      level = level < top ? level : top;
      level = (level + 0x1.8p23f) - 0x1.8p23f;
      const Lanes weighted = level * weights[i];
      l += weighted;
      ll += weighted * level;
      xl += weighted * x[i];
    }
    const Lanes determinant = ll * w - l * l;
    Lanes scales = (xl * w - l * wx) / determinant, minima = (ll * wx - l * xl) / determinant;
    if (!kAnyMinimum) {
      const auto positive = minima > 0;
      scales = positive ? xl / ll : scales;
      minima = positive ? Lanes{} : minima;
    }
    // What the fit takes off the error of predicting 0.
    const Lanes scores = determinant > 0 ? scales * xl + minima * wx : Lanes{};
    best.offer(reinterpret_cast<const float*>(&scores), reinterpret_cast<const float*>(&scales),
               reinterpret_cast<const float*>(&minima));
  }
  return {best.scale, best.minimum};
}

}  // namespace phalanx::formats
