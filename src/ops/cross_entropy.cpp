#include "ops/cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "ops/cpu/dispatch.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/workspace.h"
#include "ops/grad_sink.h"
#include "ops/matmul.h"
#include "ops/sum_dtype.h"
#include "ops/tile_product.h"

namespace phalanx::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kIgnored = -100;
constexpr int64_t kMaxChunkRows = 256;

// The labelled rows of a batch; the others cost nothing.
struct Rows {
  at::Tensor hidden, labels;  // [n, h], [n]
  at::Tensor index;           // [n] or undefined: all rows
};

Rows labelled_rows(const at::Tensor& hidden, const at::Tensor& labels) {
  const at::Tensor index = labels.ne(kIgnored).nonzero().squeeze(1);
  if (index.size(0) == labels.size(0)) return {hidden, labels, {}};
  return {hidden.index_select(0, index), labels.index_select(0, index), index};
}

at::Tensor spread(const at::Tensor& values, const Rows& rows, int64_t total) {
  if (!rows.index.defined()) return values;
  std::vector<int64_t> sizes = values.sizes().vec();
  sizes[0] = total;
  return at::zeros(sizes, values.options()).index_copy_(0, rows.index, values);
}

// Products with the inverse, as the kernels form them.
at::Tensor divide(at::Tensor logits, double temperature) {
  return temperature == 1.0 ? logits : logits.mul_(1.0 / temperature);
}

at::Tensor scales_of_logits(const CrossEntropyRows& c) {
  return c.temperature == 1.0 ? c.grad_scales : c.grad_scales * (1.0 / c.temperature);
}

void write_entropies(const CrossEntropyRows& c, const at::Tensor& log_p) {
  if (c.entropies.defined()) at::Tensor(c.entropies).copy_((log_p.exp() * log_p).sum(1).neg_());
}

// Any device and dtype.
void run_with_aten(const CrossEntropyRows& c, const at::Tensor& weight) {
  at::Tensor log_p =
      at::log_softmax(divide(at::linear(c.hidden, weight).to(sum_dtype(c.hidden)), c.temperature), 1);
  const at::Tensor column = c.labels.unsqueeze(1);
  at::Tensor(c.losses).copy_(log_p.gather(1, column).squeeze(1).neg());
  write_entropies(c, log_p);
  if (!c.wants_gradient()) return;
  at::Tensor d = log_p.exp_();
  d.scatter_add_(1, column, -at::ones(column.sizes(), d.options()));
  d = d.mul_(scales_of_logits(c).unsqueeze(1)).to(c.hidden.scalar_type());
  if (c.hidden_grad.defined()) at::Tensor(c.hidden_grad).copy_(matmul_nn(d, weight));
  if (c.weight_grad.defined()) matmul_tn_add(c.weight_grad, d, c.hidden);
}

// Losses of the rows of `logits`, which become their gradients (from the start of each row) where wanted.
template <class T, class Source, class Kernel>
void differentiate_rows(const CrossEntropyRows& c, Source* logits, int64_t vocab, const Kernel& kernel) {
  const int64_t* labels = c.labels.data_ptr<int64_t>();
  float* losses = c.losses.data_ptr<float>();
  const bool wants_gradient = c.wants_gradient();
  const at::Tensor scale_tensor = wants_gradient ? scales_of_logits(c) : at::Tensor();
  const float* scales = wants_gradient ? scale_tensor.const_data_ptr<float>() : nullptr;
  float* entropies = c.entropies.defined() ? c.entropies.data_ptr<float>() : nullptr;
  at::parallel_for(0, c.labels.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Source* row = logits + i * vocab;
      if constexpr (std::is_same_v<Source, float>) {
        if (c.temperature != 1.0)
          cpu::kernels().scale_row(row, vocab, static_cast<float>(1.0 / c.temperature));
      }
      losses[i] = kernel(row, vocab, labels[i], wants_gradient ? scales[i] : 0.0F, wants_gradient);
      if constexpr (std::is_same_v<Source, float>) {
        if (entropies) entropies[i] = cpu::kernels().entropy(row, vocab, losses[i] + row[labels[i]]);
      }
    }
  });
}

// Logits stay fp32 in the reused buffer; their gradient overwrites them in the dtype of the weight.
template <class T>
void run_packed(const CrossEntropyRows& c, const at::Tensor& weight) {
  constexpr cpu::Element kElement = sizeof(T) == 2 ? cpu::Element::kBF16 : cpu::Element::kF32;
  const int64_t n = c.hidden.size(0), h = c.hidden.size(1), vocab = weight.size(0);
  auto* logits = static_cast<float*>(cpu::scratch(cpu::Scratch::kLogits, static_cast<size_t>(n * vocab) * 4));
  const cpu::Operand x{c.hidden.data_ptr(), h, true}, x_by_row{c.hidden.data_ptr(), h, false};
  cpu::multiply({n, vocab, h, x, {weight.data_ptr(), h, true}, kElement, logits, vocab, cpu::Element::kF32});
  differentiate_rows<T>(c, logits, vocab, cpu::row_kernels<T>().cross_entropy_f32);
  const int64_t stride = vocab * 4 / static_cast<int64_t>(sizeof(T));
  if (c.hidden_grad.defined())
    cpu::multiply({n,
                   h,
                   vocab,
                   {logits, stride, true},
                   {weight.data_ptr(), h, false},
                   kElement,
                   c.hidden_grad.data_ptr(),
                   h,
                   kElement});
  if (c.weight_grad.defined())
    cpu::multiply({vocab,
                   h,
                   n,
                   {logits, stride, false},
                   x_by_row,
                   kElement,
                   c.weight_grad.data_ptr(),
                   h,
                   cpu::Element::kF32,
                   true});
}

// The same with the machine's tiles: bf16 operands, and logits that are not rounded.
void run_on_tiles(const CrossEntropyRows& c, const at::Tensor& weight) {
  const int64_t n = c.hidden.size(0), vocab = weight.size(0);
  void* buffer = cpu::scratch(cpu::Scratch::kLogits, static_cast<size_t>(n * vocab) * 4);
  const at::TensorOptions like = weight.options().requires_grad(false);
  tile_product_nt(at::from_blob(buffer, {n, vocab}, like.dtype(at::kFloat)), c.hidden, weight);
  differentiate_rows<uint16_t>(c, static_cast<float*>(buffer), vocab,
                               cpu::row_kernels<uint16_t>().cross_entropy_f32);
  const at::Tensor gradient = at::from_blob(buffer, {n, vocab}, {2 * vocab, 1}, like);
  if (c.hidden_grad.defined()) at::Tensor(c.hidden_grad).copy_(at::mm(gradient, weight));
  if (c.weight_grad.defined()) matmul_tn_add(c.weight_grad, gradient, c.hidden);
}

// ATen's products into the reused buffer, logits in the dtype of the weight.
template <class T>
void run_on_cpu(const CrossEntropyRows& c, const at::Tensor& weight) {
  const int64_t n = c.hidden.size(0), vocab = weight.size(0);
  void* buffer = cpu::scratch(cpu::Scratch::kLogits, static_cast<size_t>(n * vocab) * sizeof(T));
  at::Tensor logits = at::from_blob(buffer, {n, vocab}, weight.options().requires_grad(false));
  at::mm_out(logits, c.hidden, weight.t());
  differentiate_rows<T>(c, static_cast<T*>(buffer), vocab, cpu::row_kernels<T>().cross_entropy_same);
  if (c.hidden_grad.defined()) at::Tensor(c.hidden_grad).copy_(at::mm(logits, weight));
  if (c.weight_grad.defined()) matmul_tn_add(c.weight_grad, logits, c.hidden);
}

void run_chunk(const CrossEntropyRows& c, const at::Tensor& weight) {
  if (!cpu::has_kernels(c.hidden)) return run_with_aten(c, weight);
  const bool bf16 = c.hidden.scalar_type() == at::kBFloat16;
  const bool packed = cpu::can_multiply(bf16 ? cpu::Element::kBF16 : cpu::Element::kF32);
  if (fits_tiles(c.hidden, weight)) return run_on_tiles(c, weight);
  const bool needs_wide_logits = c.temperature != 1.0 || c.entropies.defined();
  if (bf16 && !packed && needs_wide_logits) return run_with_aten(c, weight);
  cpu::visit(c.hidden, [&](auto zero) {
    using T = decltype(zero);
    packed ? run_packed<T>(c, weight) : run_on_cpu<T>(c, weight);
  });
}

// Rows whose logits fit the budget: kLogitsBudgetBytes of fp32, at least 16 rows, at most kMaxChunkRows.
int64_t chunk_rows(int64_t vocab) {
  const int64_t fitting = kLogitsBudgetBytes / (vocab * 4);
  return std::clamp<int64_t>(fitting, 16, kMaxChunkRows);
}

struct Result {
  at::Tensor losses, hidden_grad, entropies;  // of all rows
};

struct Wanted {
  at::Tensor grad_scales;  // [N] or [1], of all rows; undefined: no gradient
  bool hidden_grad = false;
  at::Tensor weight_grad;
  double temperature = 1;
  bool entropies = false;
};

Result run(const CrossEntropyKernel& kernel, const at::Tensor& hidden, const at::Tensor& weight,
           const at::Tensor& labels, const Wanted& wanted) {
  const at::Tensor& grad_scales = wanted.grad_scales;
  const Rows rows = labelled_rows(hidden, labels);
  const int64_t n = rows.labels.size(0), step = chunk_rows(weight.size(0));
  const at::Tensor scales = !grad_scales.defined()     ? grad_scales
                            : grad_scales.numel() == 1 ? grad_scales.expand({n}).contiguous()
                            : rows.index.defined()     ? grad_scales.index_select(0, rows.index)
                                                       : grad_scales;
  at::Tensor losses = at::empty({n}, hidden.options().dtype(sum_dtype(hidden)));
  at::Tensor hidden_grad =
      wanted.hidden_grad ? at::empty(rows.hidden.sizes(), hidden.options()) : at::Tensor();
  at::Tensor entropies = wanted.entropies ? at::empty_like(losses) : at::Tensor();
  for (int64_t begin = 0; begin < n; begin += step) {
    const auto part = [&](const at::Tensor& t) {
      return t.defined() ? t.narrow(0, begin, std::min(step, n - begin)) : t;
    };
    kernel({part(rows.hidden), part(rows.labels), part(losses), part(entropies), part(hidden_grad),
            wanted.weight_grad, part(scales), wanted.temperature},
           weight);
  }
  const auto spread_known = [&](const at::Tensor& values) {
    return values.defined() ? spread(values, rows, hidden.size(0)) : values;
  };
  return {spread_known(losses), spread_known(hidden_grad), spread_known(entropies)};
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& labels, double grad_scale,
                               const CrossEntropyKernel& kernel) {
    GradSink* sink = grad_sink(weight);
    at::Tensor weight_grad;
    if (weight.requires_grad())
      weight_grad =
          sink ? sink->main_grad() : at::zeros(weight.sizes(), weight.options().dtype(sum_dtype(weight)));
    const at::Tensor scale = at::full({1}, grad_scale, hidden.options().dtype(sum_dtype(hidden)));
    const Result result = run(kernel, hidden, weight, labels, {scale, hidden.requires_grad(), weight_grad});
    ctx->save_for_backward({result.hidden_grad, weight, sink ? at::Tensor() : weight_grad});
    ctx->saved_data["grad_scale"] = grad_scale;
    ctx->mark_non_differentiable({result.losses});
    return {result.losses.sum(), result.losses};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const double grad_scale = ctx->saved_data["grad_scale"].toDouble();
    // What is left of d(loss)/d(this sum) beyond the factor already applied in the forward; 1 in a training
    // step.
    const double expected =
        grads[0].scalar_type() == at::kDouble ? grad_scale : static_cast<float>(grad_scale);
    const double given = grads[0].item<double>(), factor = given == expected ? 1.0 : given / grad_scale;
    variable_list out(5);
    if (saved[0].defined()) out[0] = factor == 1.0 ? saved[0] : saved[0] * factor;
    if (saved[2].defined())
      out[1] = (factor == 1.0 ? saved[2] : saved[2] * factor).to(saved[1].scalar_type());
    if (GradSink* sink = grad_sink(saved[1]); sink && saved[1].requires_grad()) {
      TORCH_CHECK(factor == 1.0, "linear_cross_entropy: the loss was multiplied by ", given,
                  " but grad_scale is ", grad_scale, "; with a gradient sink they must be equal");
      sink->done();
    }
    return out;
  }
};

at::Tensor logprobs_of_rows(const CrossEntropyKernel& kernel, const at::Tensor& hidden,
                            const at::Tensor& weight, const at::Tensor& labels,
                            const LogprobOptions& options) {
  Wanted wanted;
  wanted.temperature = options.temperature;
  wanted.entropies = options.entropies != nullptr;
  const Result result = run(kernel, hidden, weight, labels, wanted);
  if (options.entropies) *options.entropies = result.entropies;
  return result.losses.neg();
}

/// A kernel on its way to the backward.
struct KeptKernel : torch::CustomClassHolder {
  explicit KeptKernel(CrossEntropyKernel k) : kernel(std::move(k)) {}
  CrossEntropyKernel kernel;
};

struct TokenLogprobs : torch::autograd::Function<TokenLogprobs> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& weight,
                            const at::Tensor& labels, const CrossEntropyKernel& kernel,
                            const LogprobOptions& options) {
    ctx->save_for_backward({hidden, weight, labels});
    ctx->saved_data["temperature"] = options.temperature;
    ctx->saved_data["kernel"] = c10::IValue::make_capsule(c10::make_intrusive<KeptKernel>(kernel));
    return logprobs_of_rows(kernel, hidden, weight, labels, options);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1];
    const auto kept = ctx->saved_data["kernel"].toCapsule();
    const CrossEntropyKernel& kernel = static_cast<const KeptKernel*>(kept.get())->kernel;
    GradSink* sink = grad_sink(weight);
    at::Tensor weight_grad;
    if (weight.requires_grad())
      weight_grad =
          sink ? sink->main_grad() : at::zeros(weight.sizes(), weight.options().dtype(sum_dtype(weight)));
    const at::Tensor scales = grads[0].to(sum_dtype(hidden)).neg().contiguous();
    const Result result =
        run(kernel, hidden, weight, saved[2],
            {scales, hidden.requires_grad(), weight_grad, ctx->saved_data["temperature"].toDouble()});
    variable_list out(5);
    out[0] = result.hidden_grad;
    if (weight.requires_grad() && !sink) out[1] = weight_grad.to(weight.scalar_type());
    if (weight.requires_grad() && sink) sink->done();
    return out;
  }
};

void check(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels, int64_t vocab_size) {
  TORCH_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1) &&
                  weight.is_contiguous() && labels.dim() == 1 && labels.size(0) == hidden.size(0) &&
                  labels.scalar_type() == at::kLong,
              "linear_cross_entropy: hidden ", hidden.sizes(), ", weight ", weight.sizes(), " and labels ",
              labels.sizes(), " must be [N, h], contiguous [V, h] and [N] int64");
  TORCH_CHECK(hidden.scalar_type() == weight.scalar_type(), "linear_cross_entropy: hidden is ",
              hidden.scalar_type(), " but weight is ", weight.scalar_type());
  const at::Tensor wrong = labels.ne(kIgnored).logical_and(labels.lt(0).logical_or(labels.ge(vocab_size)));
  TORCH_CHECK(!wrong.any().item<bool>(), "linear_cross_entropy: a label is neither ", kIgnored,
              " nor in 0 .. ", vocab_size - 1);
}

at::Tensor cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                         double grad_scale, const CrossEntropyKernel& kernel, at::Tensor* row_losses) {
  expect_gradient(weight);
  if (!at::GradMode::is_enabled() || !(hidden.requires_grad() || weight.requires_grad())) {
    const Result result = run(kernel, hidden.contiguous(), weight, labels, {});
    if (row_losses) *row_losses = result.losses;
    return result.losses.sum();
  }
  const variable_list out =
      LinearCrossEntropy::apply(hidden.contiguous(), weight, labels.contiguous(), grad_scale, kernel);
  if (row_losses) *row_losses = out[1];
  return out[0];
}

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                                double grad_scale, at::Tensor* row_losses) {
  check(hidden, weight, labels, weight.size(0));
  return cross_entropy(hidden, weight, labels, grad_scale, run_chunk, row_losses);
}

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                                double grad_scale, const CrossEntropyKernel& kernel, int64_t vocab_size) {
  check(hidden, weight, labels, vocab_size);
  return cross_entropy(hidden, weight, labels, grad_scale, kernel, nullptr);
}

at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                          const LogprobOptions& options) {
  return token_logprobs(hidden, weight, labels, run_chunk, weight.size(0), options);
}

at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                          const CrossEntropyKernel& kernel, int64_t vocab_size,
                          const LogprobOptions& options) {
  check(hidden, weight, labels, vocab_size);
  TORCH_CHECK(options.temperature > 0, "token_logprobs: temperature is ", options.temperature,
              " but must be above 0");
  expect_gradient(weight);
  if (at::GradMode::is_enabled() && (hidden.requires_grad() || weight.requires_grad()))
    return TokenLogprobs::apply(hidden.contiguous(), weight, labels.contiguous(), kernel, options);
  const at::NoGradGuard no_grad;
  return logprobs_of_rows(kernel, hidden.contiguous(), weight, labels.contiguous(), options);
}

CrossEntropyKernel capped_cross_entropy(double softcap) {
  return [softcap](const CrossEntropyRows& rows, const at::Tensor& weight) {
    const at::Tensor share = wide_logits(rows.hidden, weight).div_(softcap).tanh_();
    const at::Tensor log_p = divide(share * softcap, rows.temperature).log_softmax(1),
                     label = rows.labels.unsqueeze(1);
    at::Tensor(rows.losses).copy_(log_p.gather(1, label).squeeze(1).neg_());
    write_entropies(rows, log_p);
    if (!rows.wants_gradient()) return;
    at::Tensor d = log_p.exp();
    d.scatter_add_(1, label, at::full(label.sizes(), -1.0, d.options()));
    d = d.mul_(1 - share.square()).mul_(scales_of_logits(rows).unsqueeze(1)).to(weight.scalar_type());
    if (rows.hidden_grad.defined()) at::Tensor(rows.hidden_grad).copy_(matmul_nn(d, weight));
    if (rows.weight_grad.defined()) matmul_tn_add(rows.weight_grad, d, rows.hidden);
  };
}

at::Tensor wide_logits(const at::Tensor& hidden, const at::Tensor& weight) {
  at::NoGradGuard no_grad;
  const cpu::Element element =
      hidden.scalar_type() == at::kBFloat16 ? cpu::Element::kBF16 : cpu::Element::kF32;
  if (fits_tiles(hidden, weight)) return tile_product_nt(hidden, weight, at::kFloat);
  if (!cpu::has_kernels(hidden) || !cpu::can_multiply(element))
    return at::linear(hidden, weight).to(sum_dtype(hidden));
  const int64_t n = hidden.size(0), h = hidden.size(1), vocab = weight.size(0);
  at::Tensor logits = at::empty({n, vocab}, hidden.options().dtype(at::kFloat));
  cpu::multiply({n,
                 vocab,
                 h,
                 {hidden.data_ptr(), h, true},
                 {weight.data_ptr(), h, true},
                 element,
                 logits.data_ptr(),
                 vocab,
                 cpu::Element::kF32});
  return logits;
}

}  // namespace phalanx::ops
