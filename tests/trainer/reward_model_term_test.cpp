#include "trainer/online/reward_model.h"

#include <unistd.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "error_of.h"
#include "mesh_cases.h"
#include "model/load.h"
#include "model/save.h"

namespace phalanx::trainer {
namespace {

namespace fs = std::filesystem;
using reward::Judgement;
using reward::Sample;

const char* const kOtherTemplate =
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}";

/// Reward models beside a tokenizer, and answers of a policy that has the fixture's tokenizer.
class RewardModelTerm : public testing::Test {
 protected:
  RewardModelTerm() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    add("How much is 2 + 3?", "2 plus 3 makes 5.", true);
    add("7 + 5", "12", true);
    add("1 + 1", "1 plus 1 makes", false);  // cut off
  }
  ~RewardModelTerm() override { fs::remove_all(folder_); }

  void add(const std::string& question, const std::string& answer, bool is_finished) {
    records_.push_back(
        data::parse_record(R"({"prompt":[{"role":"user","content":")" + question + "\"}]}", "prompt"));
    answers_.push_back(answer);
    const data::ExampleBuilder builder(*tokenizer_, {.chat_template = tokenizer_->chat_template()});
    prompt_ids_.push_back(builder.build_prompt(records_.back()).ids);
    answer_ids_.push_back(tokenizer_->encode(answer + (is_finished ? "<|im_end|>" : "")));
  }

  std::vector<Sample> samples() const {
    std::vector<Sample> samples;
    for (size_t i = 0; i < records_.size(); ++i)
      samples.push_back({&records_[i], "", answers_[i], static_cast<int64_t>(answer_ids_[i].size()), false,
                         64, prompt_ids_[i], answer_ids_[i]});
    return samples;
  }

  /// @param rows  of the embedding; 0: as many as the tokenizer has ids.
  std::string save_model(const std::string& name, int64_t num_labels, int64_t rows = 0,
                         int64_t max_tokens = 256) const {
    test::TinyOptions options{.vocab = rows == 0 ? tokenizer_->vocab_size() : rows};
    model::TransformerConfig config = test::tiny_config(options);
    config.num_labels = num_labels;
    config.max_position_embeddings = max_tokens;
    const auto model = model::new_model(config, at::kDouble, 5);
    model::save_hf(folder_ / name, *model, model::weights_of(*model), core::DType::kF64);
    tokenizer_->save_hf((folder_ / name).string());
    return (folder_ / name).string();
  }

  /// What the last token of the conversation is worth, as method `reward` renders and reads it.
  double expected(const std::string& path, const data::Tokenizer& tokenizer, size_t i) const {
    const data::ExampleBuilder builder(tokenizer,
                                       {.loss_on = "all", .chat_template = tokenizer.chat_template()});
    std::vector<data::jinja::Value> messages = records_[i].messages.items();
    data::jinja::Dict answer;
    answer.set("role", "assistant");
    answer.set("content", answers_[i]);
    messages.emplace_back(std::move(answer));
    data::Record record;
    record.kind = data::Record::Kind::kChat;
    record.messages = data::jinja::Value(messages);
    const std::vector<int32_t> ids = builder.build(record).ids;
    const auto model = model::load_model(path, at::kDouble);
    const at::NoGradGuard no_grad;
    const auto length = static_cast<int64_t>(ids.size());
    const at::Tensor hidden = model->hidden({at::tensor(std::vector<int64_t>(ids.begin(), ids.end())),
                                             at::arange(length),
                                             {0, static_cast<int32_t>(length)}});
    return model->head().scores(hidden, model->output_weight(), {})[length - 1][0].item<double>();
  }

  RewardModelFiles open(const std::string& path) const {
    return {path, core::Config::defaults(), *tokenizer_};
  }

  std::vector<Judgement> scored_on(const RewardModelFiles& files, const MeshCase& mesh) const {
    std::mutex mutex;
    std::vector<std::vector<Judgement>> all;
    on_mesh(test::tiny_recipe(), mesh, at::kDouble, [&](const MeshRank& rank) {
      const auto found = files.start(rank.model, at::kDouble)->score(samples());
      const std::scoped_lock lock(mutex);
      all.push_back(found);
    });
    for (const auto& found : all) {  // every rank knows all
      for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].score, all[0][i].score) << mesh.text();
    }
    return all[0];
  }

  std::string refusal(const std::string& path, core::ExitCode code = core::ExitCode::kBadConfig) const {
    return phalanx::test::error_of([&] { open(path); }, code);
  }

  fs::path folder_ = fs::temp_directory_path() / ("phalanx_reward_term_" + std::to_string(getpid()));
  std::shared_ptr<const data::Tokenizer> tokenizer_ =
      data::load_hf_tokenizer(PHALANX_SOURCE_DIR "/tests/launch/fixture/tokenizer");
  std::deque<data::Record> records_;
  std::vector<std::string> answers_;
  std::vector<std::vector<int32_t>> prompt_ids_, answer_ids_;
};

const std::vector<MeshCase>& reward_meshes() {
  static const std::vector<MeshCase> meshes = {{{}, {}},
                                               {{.dp_shard = 2}, {}},
                                               {{.dp_shard = 2}, {.zero_stage = 3, .bucket_bytes = 4096}},
                                               {{.pp = 2}, {}},
                                               {{.tp = 2}, {}},
                                               {{.tp = 2}, {.tensor = {.sequence_parallel = true}}},
                                               {{.cp = 2}, {}},
                                               {{.dp_shard = 2, .tp = 2}, {}}};
  return meshes;
}

TEST_F(RewardModelTerm, GivesTheScoresOfTheRewardMethodOnEveryMesh) {
  const std::string path = save_model("reward", 1);
  const RewardModelFiles files = open(path);
  EXPECT_NE(files.report().find("the ids of the answers"), std::string::npos);
  for (const MeshCase& mesh : reward_meshes()) {
    const std::vector<Judgement> found = scored_on(files, mesh);
    ASSERT_EQ(found.size(), 3U);
    for (size_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(found[i].score) << found[i].problem;
      EXPECT_NEAR(*found[i].score, expected(path, *tokenizer_, i), 1e-12) << mesh.text() << " answer " << i;
    }
  }
}

TEST_F(RewardModelTerm, WithATokenizerOfItsOwnReadsTextThroughItsTemplate) {
  const std::string path = save_model("other", 1);
  std::ofstream(path + "/chat_template.jinja") << kOtherTemplate;
  const auto own = data::load_hf_tokenizer(path);
  ASSERT_NE(own->fingerprint(), tokenizer_->fingerprint());
  const RewardModelFiles files = open(path);
  EXPECT_NE(files.report().find("its own tokenizer"), std::string::npos);
  for (const MeshCase& mesh : {MeshCase{}, MeshCase{{.dp_shard = 2}, {}}}) {
    const std::vector<Judgement> found = scored_on(files, mesh);
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(*found[i].score, expected(path, *own, i), 1e-12) << i;
  }
}

TEST_F(RewardModelTerm, LeavesAnswersAloneThatItCannotRead) {
  add("1 + 2", std::string(400, 'x'), true);
  const std::string path = save_model("short", 1, 0, 64);
  const std::vector<Judgement> found = scored_on(open(path), {{.dp_shard = 2}, {}});
  EXPECT_TRUE(found[0].score);
  EXPECT_FALSE(found[3].score);
  EXPECT_NE(found[3].problem.find("but the model reads 64"), std::string::npos) << found[3].problem;
}

TEST_F(RewardModelTerm, RefusesFoldersThatAreNoRewardModel) {
  EXPECT_NE(refusal(save_model("language", 0)).find("has no score.weight: it is a language model"),
            std::string::npos);
  EXPECT_NE(refusal(save_model("two", 2)).find("scores sequences with num_labels 2"), std::string::npos);
  EXPECT_NE(refusal(save_model("small", 1, 40)).find("ids but an embedding of 40 rows"), std::string::npos);
  EXPECT_NE(refusal("").find("needs path"), std::string::npos);
  EXPECT_NE(refusal((folder_ / "nothing").string(), core::ExitCode::kBadInput).find("no such file or folder"),
            std::string::npos);
}

}  // namespace
}  // namespace phalanx::trainer
