#include "trainer/mesh_diagnosis.h"

#include <ATen/ATen.h>

#include "mesh_cases.h"
#include "model/linear.h"
#include "model/norm.h"
#include "parallel/collective_ops.h"

namespace phalanx::trainer {
namespace {

using parallel::DistributedModel;

/// What is found when `sabotage` is done on this mesh; nothing may be found without it.
MeshDiagnosis planted(const MeshCase& mesh, const Sabotage& sabotage, std::string* axes = nullptr) {
  const MeshRecipe recipe = test::tiny_recipe();
  const MeshRun reference = run_on_mesh(recipe, {}, at::kDouble, 3);
  const MeshBound bound = rounding_bound(reference, reference, at::kDouble);
  EXPECT_EQ(diagnose(run_on_mesh(recipe, mesh, at::kDouble, 3), reference, bound).tensor, "");
  if (axes) *axes = guilty_axes(recipe, mesh, at::kDouble, reference, bound, sabotage);
  return diagnose(run_on_mesh(recipe, mesh, at::kDouble, 3, sabotage), reference, bound);
}

template <class M>
M& module(DistributedModel& model, const std::string& path) {
  for (const auto& [name, found] : model.model().named_modules()) {
    if (name == path) return dynamic_cast<M&>(*found);
  }
  throw std::runtime_error("no module " + path);
}

const MeshCase kTp2 = {{.tp = 2}, {}};
const MeshCase kTp2Dp2 = {{.dp_shard = 2, .tp = 2}, {}};

TEST(MeshDiagnosis, FindsAMissingAllReduceAndItsAxis) {
  std::string axes;
  const MeshDiagnosis found = planted(
      kTp2Dp2,
      [](DistributedModel& model) {
        module<model::RmsNorm>(model, "model.layers.2.post_attention_layernorm")
            .set_entry([](const at::Tensor& x) { return x; });
      },
      &axes);
  EXPECT_EQ(found.kind, "missing reduction");
  EXPECT_EQ(found.step, 1);
  EXPECT_FALSE(found.tensor.empty());
  EXPECT_EQ(axes, "tp");
}

TEST(MeshDiagnosis, FindsADoubledAllReduceOfGradients) {
  const MeshDiagnosis found = planted(kTp2, [](DistributedModel& model) {
    auto& tp = model.mesh().tp();
    auto& norm = module<model::RmsNorm>(model, "model.norm");
    norm.set_entry(
        [&tp](const at::Tensor& x) { return parallel::copy_to_group(parallel::copy_to_group(x, tp), tp); });
  });
  EXPECT_EQ(found.kind, "counted 2 times") << found.tensor;
}

TEST(MeshDiagnosis, FindsAWrongDivisor) {
  class Halved : public model::OutputHead {
   public:
    explicit Halved(std::shared_ptr<const OutputHead> inner) : inner_(std::move(inner)) {}
    at::Tensor cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                             double grad_scale) const override {
      const at::Tensor loss = inner_->cross_entropy(hidden, weight, labels, 0.75 * grad_scale);
      return loss * 0.75;
    }

   private:
    std::shared_ptr<const OutputHead> inner_;
  };
  const MeshDiagnosis found = planted({{.dp_shard = 2}, {}}, [](DistributedModel& model) {
    model.model().set_head(std::make_shared<Halved>(model.model().shared_head()));
  });
  EXPECT_TRUE(found.kind.starts_with("wrong divisor")) << found.kind;
}

TEST(MeshDiagnosis, FindsAMisslicedWeightByName) {
  const MeshDiagnosis found = planted(kTp2, [](DistributedModel& model) {
    if (model.mesh().tp().rank() != 1) return;
    const at::NoGradGuard no_grad;
    at::Tensor weight = module<model::Linear>(model, "model.layers.1.mlp.up_proj").weight;
    weight.copy_(weight.roll(1, 0));
  });
  EXPECT_EQ(found.kind, "wrong slice");
  EXPECT_EQ(found.step, 0);
  EXPECT_EQ(found.tensor, "model.layers.1.mlp.up_proj.weight");
}

TEST(MeshDiagnosis, FindsSwappedRingBlocks) {
  std::string axes;
  const MeshDiagnosis found = planted(
      {{.dp_shard = 2, .cp = 2}, {}},
      [](DistributedModel& model) {
        if (model.mesh().cp().size() == 1) return;
        const auto inner = model.model().attention();
        model.model().set_attention([inner](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                            const std::vector<int32_t>& cu,
                                            const ops::AttentionOptions& options) {
          const int64_t half = k.size(0) / 2;
          const auto swap = [&](const at::Tensor& t) {
            return at::cat({t.narrow(0, half, t.size(0) - half), t.narrow(0, 0, half)});
          };
          return inner(q, swap(k), swap(v), cu, options);
        });
      },
      &axes);
  EXPECT_TRUE(found.kind.starts_with("wrong forward")) << found.kind;
  EXPECT_EQ(axes, "cp");
}

TEST(MeshDiagnosis, FindsAStaleShardedParameter) {
  const MeshCase zero3 = {{.dp_shard = 2}, {.zero_stage = 3, .bucket_bytes = 4096}};
  const MeshDiagnosis found = planted(zero3, [](DistributedModel& model) {
    // Layer 1 is gathered once and never again.
    auto old = std::make_shared<std::map<std::string, at::Tensor>>();
    auto& layer = module<model::Module>(model, "model.layers.1");
    model.model().set_layer_runner(
        [old, &layer, inner = model.model().layer_runner()](int64_t index, const model::Stream& stream,
                                                            const model::LayerBody& body) {
          return inner(index, stream, [old, &layer, index, body](const model::Stream& in) {
            if (index == 1) {
              const at::NoGradGuard no_grad;
              for (auto& [name, parameter] : layer.named_parameters()) {
                const auto [kept, is_new] = old->try_emplace(name, parameter.detach().clone());
                if (!is_new) at::Tensor(parameter.detach()).copy_(kept->second);
              }
            }
            return body(in);
          });
        });
  });
  EXPECT_EQ(found.kind, "stale parameter") << found.tensor;
  EXPECT_EQ(found.step, 2);
}

}  // namespace
}  // namespace phalanx::trainer
