#include "ops/cpu/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>

#include "ops/cpu/attention_blocked.h"
#include "ops/cpu/attention_kernels.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/jobs.h"
#include "ops/cpu/workspace.h"

namespace phalanx::ops::cpu {
namespace {

constexpr int64_t kQueryChunk = 256;  // queries of one forward job; keys are packed again for each

struct Job {
  int64_t begin, tokens, kv_head, first, last;
};

// Longest first, so that the last jobs to be picked are short.
void run(std::vector<Job> jobs, const std::function<void(const Job&)>& work) {
  std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.last > b.last; });
  run_jobs(static_cast<int64_t>(jobs.size()), [&](int64_t i) { work(jobs[static_cast<size_t>(i)]); });
}

std::vector<Job> make_jobs(const std::vector<int64_t>& cu, int64_t kv_heads, int64_t chunk) {
  std::vector<Job> jobs;
  for (size_t s = 0; s + 1 < cu.size(); ++s) {
    const int64_t tokens = cu[s + 1] - cu[s];
    for (int64_t head = 0; head < kv_heads; ++head)
      for (int64_t first = 0; first < tokens; first += chunk)
        jobs.push_back({cu[s], tokens, head, first, std::min(first + chunk, tokens)});
  }
  return jobs;
}

/// The kernels for these tensors on this machine; empty where ATen has to serve.
struct AttentionKernels {
  size_t (*forward_scratch_bytes)(int64_t tokens, int dim) = nullptr;
  size_t (*backward_scratch_bytes)(int64_t tokens, int dim) = nullptr;
  std::function<void(const AttentionForward& task, void* work)> forward;
  std::function<void(const AttentionBackward& task, void* work)> backward;
};

AttentionKernels avx512_kernels(avx512::AttentionKind kind) {
  return {
      avx512::forward_scratch_bytes, avx512::backward_scratch_bytes,
      [kind](const AttentionForward& task, void* work) { avx512::attention_forward(kind, task, work); },
      [kind](const AttentionBackward& task, void* work) { avx512::attention_backward(kind, task, work); }};
}

template <class T>
AttentionKernels blocked_kernels(const GemmKernels& gemm) {
  return {
      blocked::forward_scratch_bytes, blocked::backward_scratch_bytes,
      [&gemm](const AttentionForward& task, void* work) { blocked::attention_forward<T>(gemm, task, work); },
      [&gemm](const AttentionBackward& task, void* work) {
        blocked::attention_backward<T>(gemm, task, work);
      }};
}

AttentionKernels find_kernels(const at::Tensor& q) {
  const bool bf16 = q.scalar_type() == at::kBFloat16;
  if (!q.device().is_cpu() || (!bf16 && q.scalar_type() != at::kFloat)) return {};
  using Kind = avx512::AttentionKind;
  // The AVX-512 translation unit is compiled with AVX512-BF16 throughout.
  if (isa().avx512_bf16) {
    return avx512_kernels(!bf16 ? Kind::kF32 : isa().fast_bf16_dot() ? Kind::kBF16 : Kind::kBF16Widened);
  }
  if (!isa().avx2) return {};
  return bf16 ? blocked_kernels<uint16_t>(kAvx2Gemm) : blocked_kernels<float>(kAvx2Gemm);
}

char* address(const at::Tensor& t, int64_t token, int64_t head) {
  return static_cast<char*>(t.data_ptr()) + (token * t.stride(0) + head * t.stride(1)) * t.element_size();
}

}  // namespace

bool can_attend(const at::Tensor& q) {
  return static_cast<bool>(find_kernels(q).forward);
}

bool attention_widens(const at::Tensor& q) {
  return q.scalar_type() == at::kBFloat16 && isa().avx512_bf16 && !isa().fast_bf16_dot();
}

void attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
            const std::vector<int64_t>& cu_seqlens, double scale, const at::Tensor& out,
            const at::Tensor& lse) {
  const int group = static_cast<int>(q.size(1) / k.size(1)), dim = static_cast<int>(q.size(2));
  const AttentionKernels kernels = find_kernels(q);
  run(make_jobs(cu_seqlens, k.size(1), kQueryChunk), [&](const Job& job) {
    const int64_t head = job.kv_head * group, first = job.begin + job.first;
    const AttentionForward task{address(q, first, head),
                                address(k, job.begin, job.kv_head),
                                address(v, job.begin, job.kv_head),
                                address(out, first, head),
                                lse.data_ptr<float>() + head * lse.stride(0) + first,
                                q.stride(0),
                                k.stride(0),
                                out.stride(0),
                                lse.stride(0),
                                job.tokens,
                                job.first,
                                job.last,
                                group,
                                dim,
                                static_cast<float>(scale)};
    kernels.forward(task, scratch(Scratch::kAttention, kernels.forward_scratch_bytes(job.last, dim)));
  });
}

void attend_last(const std::vector<LastQueries>& samples, double scale) {
  const AttentionKernels kernels = find_kernels(samples.front().q);
  const int dim = static_cast<int>(samples.front().q.size(2));
  std::vector<Job> jobs;
  for (size_t s = 0; s < samples.size(); ++s) {
    const int64_t tokens = samples[s].num_tokens;
    for (int64_t head = 0; head < samples[s].num_key_heads; ++head)
      jobs.push_back({static_cast<int64_t>(s), tokens, head, tokens - samples[s].q.size(0), tokens});
  }
  run(std::move(jobs), [&](const Job& job) {
    const LastQueries& sample = samples[static_cast<size_t>(job.begin)];
    const int64_t group = sample.q.size(1) / sample.num_key_heads, num_queries = job.last - job.first;
    const size_t head_bytes = static_cast<size_t>(job.tokens * dim) * sample.q.element_size();
    auto* keys = static_cast<char*>(scratch(Scratch::kPartial, 2 * head_bytes));
    auto* lse =
        static_cast<float*>(scratch(Scratch::kStatistics, static_cast<size_t>(group * num_queries) * 4));
    sample.read_head(job.kv_head, keys, keys + head_bytes);
    const AttentionForward task{address(sample.q, 0, job.kv_head * group),
                                keys,
                                keys + head_bytes,
                                address(sample.out, 0, job.kv_head * group),
                                lse,
                                sample.q.stride(0),
                                dim,
                                sample.out.stride(0),
                                num_queries,
                                job.tokens,
                                job.first,
                                job.last,
                                static_cast<int>(group),
                                dim,
                                static_cast<float>(scale)};
    kernels.forward(task, scratch(Scratch::kAttention, kernels.forward_scratch_bytes(job.last, dim)));
  });
}

void attend_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& out, const at::Tensor& lse, const std::vector<int64_t>& cu_seqlens,
                     double scale, const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv) {
  const int group = static_cast<int>(q.size(1) / k.size(1)), dim = static_cast<int>(q.size(2));
  const AttentionKernels kernels = find_kernels(q);
  run(make_jobs(cu_seqlens, k.size(1), int64_t{1} << 40), [&](const Job& job) {
    const int64_t head = job.kv_head * group;
    const AttentionBackward task{address(q, job.begin, head),
                                 address(k, job.begin, job.kv_head),
                                 address(v, job.begin, job.kv_head),
                                 address(out, job.begin, head),
                                 address(dout, job.begin, head),
                                 lse.data_ptr<float>() + head * lse.stride(0) + job.begin,
                                 address(dq, job.begin, head),
                                 address(dk, job.begin, job.kv_head),
                                 address(dv, job.begin, job.kv_head),
                                 q.stride(0),
                                 k.stride(0),
                                 lse.stride(0),
                                 job.tokens,
                                 group,
                                 dim,
                                 static_cast<float>(scale)};
    kernels.backward(task, scratch(Scratch::kAttention, kernels.backward_scratch_bytes(job.tokens, dim)));
  });
}

}  // namespace phalanx::ops::cpu
