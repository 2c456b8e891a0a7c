#include "lora/gguf_adapter.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "formats/gguf.h"
#include "model/golden_case.h"

namespace phalanx::lora {
namespace {

namespace fs = std::filesystem;

class GgufAdapter : public ::testing::Test {
 protected:
  GgufAdapter()
      : file_(fs::temp_directory_path() / fmt::format("phalanx-gguf-adapter-{}.gguf", getpid())),
        model_(model::load_model(model::golden_path("untied"), at::kFloat)) {}
  ~GgufAdapter() override { fs::remove(file_); }

  Adapter adapter(const LoraOptions& options) {
    Adapter made = apply(*model_, options, 3, at::kFloat);
    const c10::NoGradGuard no_grad;
    for (const AdaptedLinear& m : made.modules()) m.b.copy_(at::rand(m.b.sizes()));
    return made;
  }

  fs::path file_;
  std::shared_ptr<model::CausalLm> model_;
};

TEST_F(GgufAdapter, HoldsEveryMatrixUnderItsBasesName) {
  LoraOptions options;
  options.r = 4;
  options.alpha = 8;
  const Adapter made = adapter(options);
  save_gguf_adapter(file_, *model_, made, {});
  EXPECT_EQ(first_difference_in_gguf_adapter(file_, *model_, made), "");
  const formats::GgufFile file(file_);
  EXPECT_EQ(file.metadata().text("general.type"), "adapter");
  EXPECT_EQ(file.metadata().text("adapter.type"), "lora");
  EXPECT_EQ(file.metadata().number("adapter.lora.alpha"), 8);
  EXPECT_EQ(file.tensors().size(), size_t(2 * 7 * model_->config().num_hidden_layers));

  // Rows of q: j and j + d / 2 of a head become neighbours; those of v stay.
  const int64_t d = model_->config().head_dim;
  for (const AdaptedLinear& m : made.modules()) {
    const bool is_q = m.module == "model.layers.1.self_attn.q_proj";
    if (!is_q && m.module != "model.layers.1.self_attn.v_proj") continue;
    const formats::TensorInfo* tensor =
        file.find(is_q ? "blk.1.attn_q.weight.lora_b" : "blk.1.attn_v.weight.lora_b");
    ASSERT_NE(tensor, nullptr);
    const auto* rows = reinterpret_cast<const float*>(file.bytes(*tensor).data());
    for (int64_t column = 0; column < 4; ++column)
      EXPECT_EQ(rows[4 + column], m.b[is_q ? d / 2 : 1][column].item<float>());
  }
}

TEST_F(GgufAdapter, RankStabilisedScalesAreInAlpha) {
  LoraOptions options;
  options.r = 4;
  options.alpha = 8;
  options.use_rslora = true;
  save_gguf_adapter(file_, *model_, adapter(options), {});
  EXPECT_EQ(formats::GgufFile(file_).metadata().number("adapter.lora.alpha"), 16);  // 16 / 4 = 8 / sqrt(4)
}

TEST_F(GgufAdapter, OneChangedElementIsFound) {
  LoraOptions options;
  options.r = 4;
  const Adapter made = adapter(options);
  save_gguf_adapter(file_, *model_, made, {});
  const c10::NoGradGuard no_grad;
  made.modules()[3].b[0][0] += 1;
  EXPECT_NE(first_difference_in_gguf_adapter(file_, *model_, made).find(".lora_b has other values"),
            std::string::npos);
}

}  // namespace
}  // namespace phalanx::lora
