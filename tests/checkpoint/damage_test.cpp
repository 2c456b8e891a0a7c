#include <gtest/gtest.h>

#include <random>
#include <sstream>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/verify.h"
#include "comm/run_ranks.h"
#include "core/error.h"
#include "synthetic_state.h"

namespace phalanx::checkpoint {
namespace {

namespace fs = std::filesystem;

/// Steps 10 and 20, written by two ranks; each test damages a copy of it.
class Damage : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    pristine_ = std::make_unique<TemporaryFolder>();
    comm::run_ranks(2, [](comm::Communicator& ranks) {
      CheckpointStore store(ranks, *pristine_ / "checkpoints", {}, {});
      for (const int64_t step : {10, 20})
        EXPECT_TRUE(store.save(synthetic_state(step, ranks.rank(), 2), step).committed);
    });
  }
  static void TearDownTestSuite() { pristine_.reset(); }

  void SetUp() override { fs::copy(*pristine_ / "checkpoints", checkpoints_, fs::copy_options::recursive); }

  std::string file(int step, const std::string& name) const {
    return checkpoints_ + "/step_" + std::to_string(step) + "/" + name;
  }

  Verdict verify(int step) {
    const auto single = comm::make_single_communicator();
    return verify_checkpoint(*single, checkpoints_ + "/step_" + std::to_string(step));
  }

  /// The damaged step 20 must be refused with this in the message, step 10 used with the right bits, step 20
  /// kept aside.
  void expect_fallback(const std::string& part_of_message) {
    const Verdict verdict = verify(20);
    ASSERT_FALSE(verdict.ok()) << part_of_message;
    std::string problems;
    for (const std::string& problem : verdict.problems) problems += problem + "\n";
    EXPECT_NE(problems.find(part_of_message), std::string::npos) << problems;
    std::string log;
    comm::run_ranks(2, [&](comm::Communicator& ranks) {
      CheckpointStore store(ranks, checkpoints_, {}, [&](const std::string& line) { log += line + "\n"; });
      const auto found = store.find_resume();
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->manifest.step, 10);
      const State expected = synthetic_state(10, ranks.rank(), 2);
      State loaded = blank_like(expected);
      load(ranks, found->path, found->manifest, loaded.tensors);
      EXPECT_EQ(first_difference(loaded, expected), "");
    });
    EXPECT_NE(log.find(part_of_message), std::string::npos) << log;
    EXPECT_FALSE(fs::exists(checkpoints_ + "/step_20"));
    EXPECT_TRUE(fs::exists(checkpoints_ + "/step_20.2.rejected"));
  }

  static std::unique_ptr<TemporaryFolder> pristine_;
  TemporaryFolder folder_;
  std::string checkpoints_ = folder_ / "checkpoints";
};

std::unique_ptr<TemporaryFolder> Damage::pristine_;

void flip_bit(const std::string& path, uint64_t bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<int64_t>(bit / 8));
  const int byte = file.get();
  file.seekp(static_cast<int64_t>(bit / 8));
  file.put(static_cast<char>(byte ^ (1 << (bit % 8))));
}

/// The tensor whose bytes contain this place, if any.
std::string tensor_at(const Manifest& manifest, const std::string& file, uint64_t byte) {
  for (const TensorEntry& tensor : manifest.tensors) {
    for (const Piece& piece : tensor.pieces) {
      if (piece.file == file && byte >= piece.offset_bytes &&
          byte < piece.offset_bytes + piece.size_bytes(tensor.dtype))
        return tensor.name;
    }
  }
  return {};
}

TEST_F(Damage, EveryFlippedBitIsFoundWithFileAndTensorNamed) {
  const Verdict whole = verify(20);
  ASSERT_TRUE(whole.ok());
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(checkpoints_ + "/step_20"))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  std::mt19937_64 random(20260101);
  int num_in_tensors = 0;
  for (int trial = 0; trial < 100; ++trial) {
    const std::string name = names[random() % names.size()];
    const std::string path = file(20, name);
    const uint64_t bit = random() % (fs::file_size(path) * 8);
    flip_bit(path, bit);
    const Verdict verdict = verify(20);
    ASSERT_FALSE(verdict.ok()) << name << " bit " << bit;
    EXPECT_FALSE(verdict.manifest.has_value());
    EXPECT_NE(verdict.problems[0].find(name), std::string::npos) << verdict.problems[0];
    const std::string tensor = tensor_at(*whole.manifest, name, bit / 8);
    if (!tensor.empty()) {
      ++num_in_tensors;
      EXPECT_NE(verdict.problems[0].find("tensor " + tensor), std::string::npos) << verdict.problems[0];
    }
    const auto single = comm::make_single_communicator();
    EXPECT_EQ(open_newest(*single, checkpoints_, {}).manifest.step, 10);
    flip_bit(path, bit);
  }
  EXPECT_GT(num_in_tensors, 10);
  EXPECT_TRUE(verify(20).ok()) << "flipping back must heal it";
}

TEST_F(Damage, FlippedBitFallsBackToThePreviousCheckpoint) {
  const Verdict whole = verify(20);
  const TensorEntry* tensor = whole.manifest->find("rows.weight");
  flip_bit(file(20, tensor->pieces[1].file), (tensor->pieces[1].offset_bytes + 5) * 8 + 3);
  expect_fallback("tensor rows.weight [18:37, 0:19] (bytes " +
                  std::to_string(tensor->pieces[1].offset_bytes));
}

TEST_F(Damage, TruncatedShardFallsBack) {
  fs::resize_file(file(20, "shard_1.h5"), fs::file_size(file(20, "shard_1.h5")) / 2);
  expect_fallback("is not whole");
}
TEST_F(Damage, GrownShardFallsBack) {
  fs::resize_file(file(20, "shard_1.h5"), fs::file_size(file(20, "shard_1.h5")) + 1);
  expect_fallback("were written");
}
TEST_F(Damage, TruncatedManifestFallsBack) {
  fs::resize_file(file(20, "MANIFEST.json"), fs::file_size(file(20, "MANIFEST.json")) - 1);
  expect_fallback("MANIFEST.json: does not end with its digest");
}
TEST_F(Damage, RemovedShardFallsBackNamingWhatIsLost) {
  fs::remove(file(20, "shard_0.h5"));
  expect_fallback("shard_0.h5: is missing; with it");
}
TEST_F(Damage, RemovedManifestFallsBack) {
  fs::remove(file(20, "MANIFEST.json"));
  expect_fallback("this is no complete checkpoint");
}
TEST_F(Damage, StrayFileFallsBack) {
  std::ofstream(file(20, "shard_7.h5")) << "x";
  expect_fallback("shard_7.h5: is not listed");
}
TEST_F(Damage, LinkInPlaceOfAFileFallsBack) {
  fs::rename(file(20, "index.h5"), folder_ / "index.h5");
  fs::create_symlink(folder_ / "index.h5", file(20, "index.h5"));
  expect_fallback("index.h5: is not a regular file");
}
TEST_F(Damage, FileOfAnotherStepFallsBack) {
  fs::copy_file(file(10, "shard_1.h5"), file(20, "shard_1.h5"), fs::copy_options::overwrite_existing);
  expect_fallback("shard_1.h5: damaged in bytes");
}
TEST_F(Damage, ManifestOfAnotherStepFallsBack) {
  fs::copy_file(file(10, "MANIFEST.json"), file(20, "MANIFEST.json"), fs::copy_options::overwrite_existing);
  expect_fallback("belongs to step 10");
}
TEST_F(Damage, ZeroedPageFallsBack) {
  std::fstream(file(20, "shard_0.h5"), std::ios::in | std::ios::out | std::ios::binary)
      .seekp(8192)
      .write(std::string(4096, '\0').data(), 4096);
  expect_fallback("shard_0.h5: damaged");
}
TEST_F(Damage, SwappedPagesFallBack) {
  std::string bytes(8192, '\0');
  std::fstream shard(file(20, "shard_0.h5"), std::ios::in | std::ios::out | std::ios::binary);
  shard.seekg(65536).read(bytes.data(), 8192);
  std::rotate(bytes.begin(), bytes.begin() + 4096, bytes.end());
  shard.seekp(65536).write(bytes.data(), 8192);
  shard.close();
  expect_fallback("shard_0.h5: damaged");
}

TEST_F(Damage, VerifyingChangesNothingAndCountsTheDamaged) {
  flip_bit(file(20, "shard_0.h5"), 800000);
  std::ostringstream out;
  try {
    verify_command(folder_.path(), out);
    FAIL() << "damage must be an error";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("1 of 2 checkpoints damaged"), std::string::npos)
        << error.what();
  }
  EXPECT_NE(out.str().find("step_10: verified: step 10, 4 files, 17 tensors"), std::string::npos)
      << out.str();
  EXPECT_NE(out.str().find("step_20: DAMAGED"), std::string::npos) << out.str();
  EXPECT_TRUE(fs::exists(file(20, "MANIFEST.json")));
  EXPECT_NO_THROW(verify_command(checkpoints_ + "/step_10", out));
  EXPECT_THROW(verify_command(checkpoints_ + "/step_20", out), core::Error);
  EXPECT_THROW(verify_command(folder_ / "nothing", out), core::Error);
}

TEST_F(Damage, StrictStopsInsteadOfFallingBack) {
  flip_bit(file(20, "shard_0.h5"), 800000);
  const auto single = comm::make_single_communicator();
  CheckpointStore store(*single, checkpoints_, {.strict = true}, {});
  EXPECT_THROW(store.find_resume(), core::Error);
  EXPECT_TRUE(fs::exists(file(20, "MANIFEST.json")));
}

TEST_F(Damage, ARunWithNothingButDamagedCheckpointsDoesNotStartFromNothing) {
  for (const int step : {10, 20}) flip_bit(file(step, "shard_0.h5"), 800000);
  const auto single = comm::make_single_communicator();
  for (int life = 0; life < 2; ++life) {
    CheckpointStore store(*single, checkpoints_, {}, {});
    EXPECT_THROW(store.find_resume(), core::Error) << "life " << life;
  }
}

}  // namespace
}  // namespace phalanx::checkpoint
