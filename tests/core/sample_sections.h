#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// Sections like the real ones, for the tests of core alone; registered in config_test.cpp.
namespace phalanx::core {

struct SampleSource {
  std::string path;
  std::string format = "auto";
  double weight = 1.0;
};

struct SampleData {
  std::vector<SampleSource> train;
  int64_t sequence_length = 512;
  bool packing = true;
  std::vector<std::string> columns = {"text"};
};

struct SampleTrain {
  int64_t max_steps = 100;
  std::optional<int64_t> epochs;
  int64_t global_batch_size = 16;
  int64_t micro_batch_size = 4;
  double max_grad_norm = 1.0;
  std::string precision = "bf16";
};

struct SampleOptimizer {
  std::string name = "adamw";
  double learning_rate = 2e-4;
  std::vector<double> betas = {0.9, 0.999};
  std::optional<double> decay;
  std::optional<bool> fused;
};

struct SampleLora {
  int64_t r = 16;
  std::optional<std::string> path;
};

struct SampleLog {
  std::string token;
  std::string url;
};

}  // namespace phalanx::core
