// config.json files whose sizes cannot be, or cannot be held.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "error_of.h"
#include "formats/tensor_spec.h"
#include "model/golden_case.h"
#include "model/parameter.h"

namespace phalanx::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class HostileConfig : public testing::Test {
 protected:
  HostileConfig() { fs::copy(golden_path("untied"), folder_, fs::copy_options::recursive); }
  ~HostileConfig() override { fs::remove_all(folder_); }

  json config() const { return json::parse(std::ifstream(fs::path(golden_path("untied")) / "config.json")); }
  void write_config(const json& object) const { std::ofstream(folder_ / "config.json") << object; }

  /// Zeros for every parameter of the config, in a sparse file.
  void write_sparse_weights() const {
    json header = json::object();
    uint64_t end = 0;
    for (const auto& [name, parameter] : all_parameters(*build(ModelFiles::open(folder_).config()))) {
      const std::vector<int64_t> shape = parameter.sizes().vec();
      const uint64_t begin = end;
      end += formats::count_bytes(core::DType::kBF16, shape).value();
      header[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {begin, end}}};
    }
    const std::string text = header.dump();
    const uint64_t length = text.size();
    std::ofstream(folder_ / "model.safetensors", std::ios::binary)
            .write(reinterpret_cast<const char*>(&length), 8)
        << text;
    fs::resize_file(folder_ / "model.safetensors", 8 + length + end);
  }

  const fs::path folder_ = fs::temp_directory_path() / ("phalanx_hostile_config_" + std::to_string(getpid()));
};

TEST_F(HostileConfig, ImpossibleSizesAreErrorsThatNameKeyAndValue) {
  struct Row {
    json changes;
    const char* says;
  };
  constexpr int64_t kTwo31 = int64_t{1} << 31;
  const std::vector<Row> rows = {
      {{{"hidden_size", 0}}, "hidden_size is 0, but must be an integer from 1"},
      {{{"hidden_size", -1}}, "hidden_size is -1"},
      {{{"hidden_size", 16.5}}, "hidden_size is 16.5"},
      {{{"hidden_size", "16"}}, "hidden_size is \"16\""},
      {{{"hidden_size", kTwo31 + 1}}, "hidden_size is 2147483649"},
      {{{"hidden_size", 18446744073709551615u}}, "hidden_size is 18446744073709551615"},
      {{{"hidden_size", kTwo31}, {"vocab_size", 1024}}, "is 1024 x 2147483648, more than 2^40 elements"},
      {{{"hidden_size", 98}, {"num_attention_heads", 3}, {"num_key_value_heads", 3}, {"head_dim", nullptr}},
       "hidden_size is 98 but must be a multiple of num_attention_heads = 3"},
      {{{"num_attention_heads", kTwo31}, {"num_key_value_heads", kTwo31}, {"head_dim", kTwo31}},
       "is 2147483648 x 2147483648, more than 2^40 elements"},
      {{{"num_attention_heads", 0}}, "num_attention_heads is 0"},
      {{{"num_key_value_heads", 0}}, "num_key_value_heads is 0"},
      {{{"head_dim", 0}}, "head_dim is 0"},
      {{{"head_dim", 3}}, "head_dim is 3 but must be even"},
      {{{"num_hidden_layers", 0}}, "num_hidden_layers is 0"},
      {{{"num_hidden_layers", 1'000'000'000}},
       "num_hidden_layers is 1000000000, but must be an integer from 1 to"},
      {{{"vocab_size", 0}}, "vocab_size is 0"},
      {{{"intermediate_size", 0}}, "intermediate_size is 0"},
      {{{"intermediate_size", kTwo31}, {"hidden_size", 1024}}, "more than 2^40 elements"},
      {{{"max_position_embeddings", 0}}, "max_position_embeddings is 0"},
      {{{"rms_norm_eps", 0}}, "rms_norm_eps is 0"},
      {{{"eos_token_id", {1, 1'000'000}}}, "eos_token_id is 1000000 but the vocabulary has the ids 0 to"},
      {{{"bos_token_id", -1}}, "bos_token_id is -1"},
      {{{"rope_parameters", nullptr}, {"rope_theta", 0}}, "rope_theta is 0"},
  };
  for (const Row& row : rows) {
    json changed = config();
    changed.update(row.changes);
    write_config(changed);
    const std::string message = test::error_of([&] { check_model(ModelFiles::open(folder_)); });
    EXPECT_NE(message.find(row.says), std::string::npos) << row.changes << ": " << message;
    EXPECT_NE(message.find(folder_.string()), std::string::npos) << message;
    EXPECT_LT(message.size(), 2000u) << message;
  }
}

TEST_F(HostileConfig, WeightsLargerThanTheMachinesMemoryAreRefusedUnread) {
  json changed = config();
  changed.update({{"vocab_size", 1 << 20},
                  {"hidden_size", 1 << 19},
                  {"intermediate_size", 2},
                  {"num_attention_heads", 1},
                  {"num_key_value_heads", 1},
                  {"head_dim", 2},
                  {"num_hidden_layers", 1},
                  {"tie_word_embeddings", true}});
  write_config(changed);
  write_sparse_weights();
  const std::string message = test::error_of([&] { load_model(ModelFiles::open(folder_), at::kDouble); });
  EXPECT_NE(message.find("the weights need 4096 GiB as Double, but this machine has"), std::string::npos)
      << message;
}

}  // namespace
}  // namespace phalanx::model
