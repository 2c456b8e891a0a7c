#include "trainer/online/advantages.h"

#include <cmath>
#include <limits>

namespace phalanx::trainer {
namespace {

constexpr double kEpsilon = 1e-4;  // TRL's

Rewards group_of(const Rewards& rewards, size_t group, size_t size) {
  const auto begin = rewards.begin() + static_cast<std::ptrdiff_t>(group * size);
  return {begin, begin + static_cast<std::ptrdiff_t>(size)};
}

double or_zero(double value) {
  return std::isnan(value) ? 0.0 : value;
}

}  // namespace

double mean_of(const Rewards& values) {
  double sum = 0, count = 0;
  for (const auto& value : values) {
    if (!value) continue;
    sum += *value;
    ++count;
  }
  return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / count;
}

double std_of(const Rewards& values) {
  const double mean = mean_of(values);
  double sum = 0, count = 0;
  for (const auto& value : values) {
    if (!value) continue;
    sum += (*value - mean) * (*value - mean);
    ++count;
  }
  return count < 2 ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(sum / (count - 1));
}

std::vector<double> group_advantages(const Rewards& rewards, size_t group_size, const std::string& scale) {
  const double batch_std = std_of(rewards);
  std::vector<double> advantages;
  for (size_t i = 0; i < rewards.size(); ++i) {
    const Rewards group = group_of(rewards, i / group_size, group_size);
    const double spread = scale == "batch" ? batch_std : std_of(group);
    const double centred = rewards[i] ? *rewards[i] - mean_of(group) : 0.0;
    advantages.push_back(or_zero(scale == "none" ? centred : centred / (spread + kEpsilon)));
  }
  return advantages;
}

std::vector<double> leave_one_out_advantages(const Rewards& rewards, size_t group_size, bool normalize) {
  Rewards advantages;
  for (size_t i = 0; i < rewards.size(); ++i) {
    Rewards others = group_of(rewards, i / group_size, group_size);
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i % group_size));
    const double baseline = mean_of(others);
    advantages.push_back(rewards[i] && !std::isnan(baseline) ? std::optional<double>(*rewards[i] - baseline)
                                                             : std::nullopt);
  }
  const double mean = mean_of(advantages), spread = std_of(advantages);
  std::vector<double> result;
  for (const auto& advantage : advantages) {
    const double value = advantage.value_or(0.0);
    result.push_back(!advantage ? 0.0 : or_zero(normalize ? (value - mean) / (spread + kEpsilon) : value));
  }
  return result;
}

void whiten(std::vector<double>& values) {
  double mean = 0, squares = 0;
  for (const double value : values) mean += value;
  mean /= static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double spread =
      values.size() < 2 ? 0.0 : std::sqrt(squares / (static_cast<double>(values.size()) - 1));
  for (double& value : values) value = (value - mean) / (spread + 1e-8);
}

bool has_spread(const Rewards& rewards) {
  const double spread = std_of(rewards);
  return !std::isnan(spread) && spread >= 1e-8;
}

double share_without_spread(const Rewards& rewards, size_t group_size) {
  double without = 0;
  const size_t groups = rewards.size() / group_size;
  for (size_t g = 0; g < groups; ++g) {
    without += !has_spread(group_of(rewards, g, group_size));
  }
  return without / static_cast<double>(groups);
}

}  // namespace phalanx::trainer
