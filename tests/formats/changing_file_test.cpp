// Model files that somebody truncates, rewrites, replaces or removes while they are read.
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "format_test_util.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "formats/hf_weights.h"

namespace phalanx::formats {
namespace {

namespace fs = std::filesystem;
using core::DType;

constexpr int64_t kElements = 1 << 16;  // 64 pages each

void fill(TensorWriter& writer) {
  for (const TensorSpec& spec : writer.tensors())
    writer.write_floats(spec.name, std::vector<float>(kElements, 1.0f));
  writer.finish();
}

const std::vector<TensorSpec>& three_tensors() {
  static const std::vector<TensorSpec> specs = {
      {"a", DType::kF32, {kElements}}, {"b", DType::kF32, {kElements}}, {"c", DType::kF32, {kElements}}};
  return specs;
}

/// A kind of model file: how it is written and opened, and which file of it is changed.
struct ModelKind {
  std::string name, file;
  std::function<void(const fs::path& folder)> write;
  std::function<std::unique_ptr<TensorFile>(const fs::path& folder)> open;
};

std::vector<ModelKind> model_kinds() {
  return {
      {"safetensors", "x.safetensors",
       [](const fs::path& folder) {
         SafetensorsWriter writer(folder / "x.safetensors", three_tensors());
         fill(writer);
       },
       [](const fs::path& folder) { return std::make_unique<SafetensorsFile>(folder / "x.safetensors"); }},
      {"shards", "model-00002-of-00003.safetensors",
       [](const fs::path& folder) {
         HfWeightsWriter writer(folder, three_tensors(), 1);
         fill(writer);
       },
       [](const fs::path& folder) { return std::make_unique<HfWeights>(folder); }},
      {"GGUF", "x.gguf",
       [](const fs::path& folder) {
         GgufWriter writer(folder / "x.gguf", three_tensors(), {});
         fill(writer);
       },
       [](const fs::path& folder) { return std::make_unique<GgufFile>(folder / "x.gguf"); }}};
}

double sum_of_all(const TensorFile& file) {
  double sum = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    const auto bytes = file.bytes(tensor);
    const auto* values = reinterpret_cast<const float*>(bytes.data());
    sum = std::accumulate(values, values + bytes.size() / sizeof(float), sum);
  }
  return sum;
}

void replace_by(const fs::path& path, const std::string& bytes) {
  write_bytes(path.string() + ".new", bytes);
  fs::rename(path.string() + ".new", path);
}

struct FileChange {
  std::string name;
  bool is_error;
  std::function<void(const fs::path&)> make;
};

std::vector<FileChange> file_changes() {
  return {
      {"cut to nothing", true, [](const fs::path& path) { fs::resize_file(path, 0); }},
      {"cut in the middle", true,
       [](const fs::path& path) { fs::resize_file(path, fs::file_size(path) / 2); }},
      {"cut by a byte", true, [](const fs::path& path) { fs::resize_file(path, fs::file_size(path) - 1); }},
      {"made longer", true, [](const fs::path& path) { fs::resize_file(path, fs::file_size(path) + 1); }},
      {"cut and made as long again", true,
       [](const fs::path& path) {
         const auto size = fs::file_size(path);
         fs::resize_file(path, 100);
         fs::resize_file(path, size);
       }},
      {"written over in place", true,
       [](const fs::path& path) { write_bytes(path, std::string(fs::file_size(path), 'x')); }},
      {"replaced by a shorter one", false, [](const fs::path& path) { replace_by(path, "short"); }},
      {"replaced by one as long", false,
       [](const fs::path& path) { replace_by(path, std::string(fs::file_size(path), 'x')); }},
      {"removed", false, [](const fs::path& path) { fs::remove(path); }},
  };
}

TEST(ChangingFile, IsATypedErrorOrStillWholeInTheMapping) {
  for (const ModelKind& kind : model_kinds())
    for (const FileChange& change : file_changes()) {
      SCOPED_TRACE(kind.name + ", " + change.name);
      const TempFolder folder;
      kind.write(folder.path());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // times of files tick every few ms
      const auto file = kind.open(folder.path());
      EXPECT_EQ(file->bytes(file->tensors()[0]).size(), kElements * sizeof(float));
      change.make(folder / kind.file);
      const double sum = sum_of_all(*file);
      if (change.is_error) {
        expect_format_error(
            FormatErrorKind::kChanged, [&] { file->check_unchanged(); }, change.name);
      } else {
        file->check_unchanged();
        EXPECT_EQ(sum, 3.0 * kElements);
      }
    }
}

TEST(ChangingFile, CutBetweenAnyTwoReadsDoesNotEndTheProcess) {
  for (const ModelKind& kind : model_kinds()) {
    SCOPED_TRACE(kind.name);
    for (int trial = 0; trial < 20; ++trial) {
      const TempFolder folder;
      kind.write(folder.path());
      const fs::path path = folder / kind.file;
      std::jthread cutter([&, trial] {
        std::this_thread::sleep_for(std::chrono::microseconds(50 * trial));
        fs::resize_file(path, fs::file_size(path) * size_t(trial) / 20);
      });
      try {
        const auto file = kind.open(folder.path());  // a header that was cut is an error of its own
        for (;;) {
          sum_of_all(*file);
          file->check_unchanged();
        }
      } catch (const FormatError& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    }
  }
}

}  // namespace
}  // namespace phalanx::formats
