#pragma once
#include <ATen/ATen.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "checkpoint/state.h"

/// States whose every bit follows from (tensor name, step), so that any process can check what it has loaded.
namespace phalanx::checkpoint {

/// A folder of this test's own, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "phalanx_checkpoint_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// splitmix64 over (name, step, place), as finite values of the type.
inline at::Tensor synthetic_tensor(const std::string& name, int64_t step, std::vector<int64_t> shape,
                                   at::ScalarType type) {
  uint64_t seed = std::hash<std::string>()(name) + static_cast<uint64_t>(step) * 0x632be59bd9b4e019ULL;
  const at::Tensor values = at::empty(shape, at::kDouble);
  double* data = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    uint64_t z = seed += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    data[i] = static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }
  if (type == at::kBool) return values > 0.5;
  return at::isFloatingType(type) ? (values - 0.5).to(type) : (values * 120).to(type);
}

struct SyntheticTensor {
  std::string name;
  std::vector<int64_t> shape;
  at::ScalarType type;
  int64_t cut;  // the dimension that is spread over the ranks; -1: every rank has all of it
};

/// All types, both kinds of cut, a scalar, an empty one, a slice that is large enough to be written by
/// several ranks.
inline std::vector<SyntheticTensor> synthetic_tensors() {
  std::vector<SyntheticTensor> tensors = {{"large.weight", {600, 513}, at::kFloat, -1},
                                          {"rows.weight", {37, 19}, at::kFloat, 0},
                                          {"rows.exp_avg", {37, 19}, at::kDouble, 0},
                                          {"columns.weight", {11, 4099}, at::kBFloat16, 1},
                                          {"deep.weight", {3, 5, 7, 2}, at::kFloat, 2},
                                          {"scalar", {}, at::kFloat, -1},
                                          {"empty", {0, 4}, at::kFloat, -1}};
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                                    at::kShort, at::kChar, at::kByte, at::kBool}) {
    tensors.push_back({std::string("replicated.") + c10::toString(type), {13, 5}, type, -1});
  }
  return tensors;
}

inline TensorSlice cut(const SyntheticTensor& tensor, const at::Tensor& values, int rank, int num_ranks) {
  TensorSlice slice = whole_tensor(tensor.name, values);
  if (tensor.cut < 0) return slice;
  const auto dim = static_cast<size_t>(tensor.cut);
  const int64_t begin = tensor.shape[dim] * rank / num_ranks,
                end = tensor.shape[dim] * (rank + 1) / num_ranks;
  slice.offset[dim] = begin;
  slice.local = values.narrow(tensor.cut, begin, end - begin).contiguous();
  return slice;
}

/// What one of `num_ranks` ranks holds at `step`.
inline State synthetic_state(int64_t step, int rank, int num_ranks) {
  State state;
  for (const SyntheticTensor& tensor : synthetic_tensors()) {
    state.tensors.push_back(
        cut(tensor, synthetic_tensor(tensor.name, step, tensor.shape, tensor.type), rank, num_ranks));
  }
  state.scalars = {{"step", step},
                   {"seed", 17},
                   {"cursor", {{"epoch", 1}, {"sample", step * 16}}},
                   {"learning_rate", 0.1 / 3}};
  return state;
}

/// The same slices, without the values.
inline State blank_like(const State& state) {
  State blank = state;
  for (TensorSlice& slice : blank.tensors) slice.local = at::zeros_like(slice.local);
  return blank;
}

/// Name of the first tensor that is not the same to the last bit; empty if all are.
inline std::string first_difference(const State& a, const State& b) {
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    const at::Tensor& x = a.tensors[i].local;
    const at::Tensor& y = b.tensors[i].local;
    if (x.nbytes() != y.nbytes() ||
        (x.nbytes() > 0 && std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) != 0))
      return a.tensors[i].name;
  }
  return {};
}

}  // namespace phalanx::checkpoint
