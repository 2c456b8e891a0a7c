#include "formats/hdf5.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <numeric>

#include "core/files.h"
#include "format_test_util.h"

namespace phalanx::formats {
namespace {

using core::DType;

std::vector<std::byte> pattern(size_t size, int seed = 0) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = std::byte(uint8_t(i * 7 + size_t(seed)));
  return bytes;
}

std::vector<std::byte> bytes_of(const TensorFile& file, const std::string& name) {
  return values_of<std::byte>(file, name);
}

TEST(Hdf5, EveryElementTypeSurvivesWritingAndReading) {
  const TempFolder folder;
  const std::vector<TensorSpec> specs = {
      {"f64", DType::kF64, {2, 3}}, {"f32", DType::kF32, {5}},      {"f16", DType::kF16, {3, 1, 2}},
      {"bf16", DType::kBF16, {7}},  {"i64", DType::kI64, {}},       {"i32", DType::kI32, {2, 2}},
      {"u8", DType::kU8, {9}},      {"empty", DType::kF32, {0, 4}}, {"model/layers/0", DType::kI8, {3}},
  };
  Hdf5Writer writer(folder / "x.h5", 1 << 20);
  std::vector<uint64_t> places;
  for (const TensorSpec& spec : specs) {
    const auto bytes = pattern(*count_bytes(spec.dtype, spec.shape), int(places.size()));
    places.push_back(writer.write(spec, bytes));
  }
  writer.set_attribute("note", "ä");
  writer.close();
  const Hdf5File file(folder / "x.h5");
  ASSERT_EQ(file.tensors().size(), specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    const TensorInfo* tensor = file.find(specs[i].name);
    ASSERT_NE(tensor, nullptr) << specs[i].name;
    EXPECT_EQ(tensor->dtype, specs[i].dtype) << specs[i].name;
    EXPECT_EQ(tensor->shape, specs[i].shape);
    EXPECT_EQ(tensor->offset_bytes, places[i]);
    EXPECT_EQ(bytes_of(file, specs[i].name), pattern(tensor->size_bytes, int(i)));
  }
}

TEST(Hdf5, CreatedDatasetsCanBeFilledWithPlainWrites) {
  const TempFolder folder;
  Hdf5Writer writer(folder / "x.h5");
  const uint64_t a = writer.create({"a", DType::kBF16, {100, 3}});
  const uint64_t b = writer.create({"b", DType::kF32, {1000}});
  writer.close();
  EXPECT_GE(std::filesystem::file_size(folder / "x.h5"), std::max(a + 600, b + 4000));
  std::fstream stream(folder / "x.h5", std::ios::in | std::ios::out | std::ios::binary);
  const auto bytes = pattern(600);
  stream.seekp(std::streamoff(a)).write(reinterpret_cast<const char*>(bytes.data()), 600);
  stream.close();
  EXPECT_EQ(bytes_of(Hdf5File(folder / "x.h5"), "a"), bytes);
}

TEST(Hdf5, TheSameContentGivesTheSameFile) {
  const TempFolder folder;
  for (const char* name : {"1.h5", "2.h5"}) {
    Hdf5Writer writer(folder / name);
    writer.write({"a", DType::kBF16, {50}}, pattern(100));
    writer.close();
  }
  EXPECT_EQ(read_bytes(folder / "1.h5"), read_bytes(folder / "2.h5"));
}

TEST(Hdf5, AVirtualIndexShowsTheWholeTensorToH5dump) {
  const TempFolder folder;
  for (int rank = 0; rank < 2; ++rank) {
    Hdf5Writer writer(folder / fmt::format("shard_{}.h5", rank));
    std::vector<uint16_t> values = {0x3f80, 0x4000, 0x4040};  // 1, 2, 3 in bf16
    for (uint16_t& value : values) value = uint16_t(value + 0x80 * rank);
    writer.write({"w", DType::kBF16, {1, 3}}, std::as_bytes(std::span(values)));
    writer.close();
  }
  const VirtualDataset whole{{"w", DType::kBF16, {2, 3}},
                             {{"shard_0.h5", "w", {0, 0}, {1, 3}}, {"shard_1.h5", "w", {1, 0}, {1, 3}}}};
  write_virtual_index(folder / "index.h5", std::vector{whole});
  EXPECT_THROW(Hdf5File(folder / "index.h5"), FormatError);  // for people, not for loading
  if (std::system("command -v h5dump >/dev/null") != 0) GTEST_SKIP() << "h5dump is not installed";
  const std::string command = fmt::format("cd / && h5dump -y -w 0 -d w {} > {}",
                                          (folder / "index.h5").string(), (folder / "out.txt").string());
  ASSERT_EQ(std::system(command.c_str()), 0);
  const std::string shown = read_bytes(folder / "out.txt");
  EXPECT_NE(shown.find("1, 2, 3"), std::string::npos) << shown;
  EXPECT_NE(shown.find("2, 4, 6"), std::string::npos) << shown;
}

TEST(Hdf5, AnExistingFileIsNeverReplaced) {
  const TempFolder folder;
  write_bytes(folder / "x.h5", "precious");
  EXPECT_THROW(Hdf5Writer writer(folder / "x.h5"), core::Error);
  EXPECT_EQ(read_bytes(folder / "x.h5"), "precious");
}

/// As another process would see it: this one still has the abandoned file open, so a copy is looked at.
void expect_unopenable(const TempFolder& folder, const std::string& name) {
  std::filesystem::copy_file(folder / name, folder / "seen_by_others.h5");
  EXPECT_THROW(Hdf5File(folder / "seen_by_others.h5"), core::Error);
}

TEST(Hdf5, AFailedWriteNamesFileDatasetAndReasonAndLeavesNoFileThatOpens) {
  const TempFolder folder;
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1 << 20, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    Hdf5Writer writer(folder / "x.h5");
    writer.write({"a", DType::kU8, {1000}}, pattern(1000));
    try {
      writer.write({"big", DType::kU8, {4 << 20}}, pattern(4 << 20));
    } catch (const core::Error& error) {
      message = error.what();
    }
    EXPECT_THROW(writer.close(), core::Error);
  } catch (const core::Error& error) {
    message += error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(message.find("x.h5: dataset big: cannot be written: File too large"), std::string::npos)
      << message;
  expect_unopenable(folder, "x.h5");
  Hdf5Writer again(folder / "y.h5");  // the library still works
  again.write({"a", DType::kU8, {10}}, pattern(10));
  again.close();
  EXPECT_EQ(bytes_of(Hdf5File(folder / "y.h5"), "a"), pattern(10));
}

TEST(Hdf5, AnUnfinishedFileCannotBeOpened) {
  const TempFolder folder;
  {
    Hdf5Writer writer(folder / "x.h5");
    writer.write({"a", DType::kU8, {1000}}, pattern(1000));
  }
  expect_unopenable(folder, "x.h5");
}

TEST(Hdf5, ReservedSpaceDoesNotChangeTheFileSize) {
  const TempFolder folder;
  for (const uint64_t reserve : {uint64_t{0}, uint64_t{1} << 22}) {
    Hdf5Writer writer(folder / fmt::format("{}.h5", reserve), reserve);
    writer.write({"a", DType::kU8, {100}}, pattern(100));
    writer.close();
  }
  EXPECT_EQ(read_bytes(folder / "0.h5"), read_bytes(folder / "4194304.h5"));
  EXPECT_THROW(Hdf5Writer(folder / "huge.h5", uint64_t{1} << 60), core::Error);
}

TEST(Hdf5, FilesThatAreNotOursAreTypedErrors) {
  const TempFolder folder;
  write_bytes(folder / "x.h5", "no HDF5 at all");
  expect_format_error(
      FormatErrorKind::kStorage, [&] { Hdf5File file(folder / "x.h5"); }, "text");
  write_bytes(folder / "x.h5", "");
  expect_format_error(
      FormatErrorKind::kStorage, [&] { Hdf5File file(folder / "x.h5"); }, "empty");
  expect_format_error(
      FormatErrorKind::kNotRegular, [&] { Hdf5File file(folder / "absent.h5"); }, "absent");
  Hdf5Writer writer(folder / "good.h5");
  writer.write({"a", DType::kU8, {10000}}, pattern(10000));
  writer.close();
  std::string bytes = read_bytes(folder / "good.h5");
  for (size_t size = 0; size < bytes.size(); size += 97) {
    write_bytes(folder / "x.h5", std::string_view(bytes).substr(0, size));
    EXPECT_THROW(Hdf5File(folder / "x.h5"), FormatError) << size;
  }
}

}  // namespace
}  // namespace phalanx::formats
